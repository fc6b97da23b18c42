"""The pages of the dashboard: Starlette and Jinja; everything a page shows of the study is escaped."""

from __future__ import annotations

import json
from collections import Counter, OrderedDict
from functools import cache, partial
from http import HTTPStatus
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from epilayer.dashboard import phrases, progress
from epilayer.dashboard.curves import Curve
from epilayer.dashboard.files import inside
from epilayer.dashboard.guard import Guard
from epilayer.dashboard.listing import Lister
from epilayer.dashboard.monitor import Verb
from epilayer.dashboard.result import figure_file, page_of
from epilayer.model.errors import EpilayerError, InputError
from epilayer.model.kinds import KINDS
from epilayer.report import style, viewer
from epilayer.report.html import doi_links, words

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from epilayer.dashboard.monitor import Desk
    from epilayer.dashboard.result import Page

STATES: Final = ("failed", "running", "ready", "waiting", "paused", "completed", "cancelled", "stopped")
_SCRIPTS: Final = {"3Dmol.js": "3Dmol-2.5.5.min.js", "viewer.js": "viewer.js", "dashboard.js": "dashboard.js"}
_JOBS: Final = 100
_KEPT: Final = 8
_LARGEST: Final = 4 << 20  # bytes of a file that is shown in the browser; a longer one is offered whole


def create_app(
    desk: Desk, *, port: int, token: str | None = None, private: bool = False, acts: bool = True
) -> ASGIApp:
    """Return the dashboard of a study as an ASGI application.

    Parameters
    ----------
    desk
        What it is shown from.
    port
        The port it listens on, which every request must name.
    token
        What a person must show to act; ``None`` where nobody may.
    private
        Whether reading needs the token too.
    acts
        Whether the token lets a person act, or only read.
    """
    return Guard(Pages(desk).app(), port=port, token=token, private=private, acts=acts)


class Pages:
    """The routes of one study's dashboard."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.lister = Lister(desk.results)
        self._pages: OrderedDict[tuple[str, str], Page] = OrderedDict()

    def app(self) -> Starlette:
        """Return the routes."""
        return Starlette(
            routes=[
                Route("/", self.home),
                Route("/jobs", self.jobs),
                Route("/job/{ref}", self.job),
                Route("/job/{ref}/attempt/{number:int}/{path:path}", self.file),
                Route("/trajectories", self.trajectories),
                Route("/trajectory/{name}", self.trajectory),
                Route("/trajectory/{name}/figure.svg", self.progress),
                Route("/results", self.kinds),
                Route("/results/{kind}", self.results),
                Route("/result/{identity}", self.result),
                Route("/result/{identity}/record.json", self.record),
                Route("/result/{identity}/figure/{name}.svg", self.figure),
                Route("/assets/dashboard.css", self.styles),
                Route("/assets/{name}", self.script),
                Route("/{what}/{ref}/{verb}", self.act, methods=["POST"]),
            ],
            exception_handlers={
                HTTPException: self.http_error,
                EpilayerError: self.own_error,
                Exception: self.fault,
            },
        )

    def home(self, request: Request) -> Response:
        """Campaigns with their progress, and what has failed."""
        self.desk.refresh()
        campaigns = self.desk.campaigns()
        failed = self.desk.jobs(state="failed")
        return self._page(
            request,
            "home.html.j2",
            campaigns=campaigns,
            failures=Counter(job.failure for job in failed).most_common(),
            failed=failed[:20],
            n_failed=len(failed),
            kinds=self.desk.results.kinds(),
            live=any(c.counts.get("running", 0) for c in campaigns),
        )

    def jobs(self, request: Request) -> Response:
        """Jobs by state and class of failure."""
        asked = request.query_params
        state, flow, failure, name = (asked.get(key, "") for key in ("state", "flow", "failure", "name"))
        if state and state not in STATES:
            raise InputError(f"There is no state {state!r}.", f"The states are: {', '.join(STATES)}.")
        everything = self.desk.jobs(flow=flow or None)
        part = name.casefold()
        found = [
            j
            for j in everything
            if state in ("", j.state) and failure in ("", j.failure) and part in j.name.casefold()
        ]
        pages = max(1, -(-len(found) // _JOBS))
        page = min(max(int(asked["page"]), 1), pages) if asked.get("page", "").isdecimal() else 1
        return self._page(
            request,
            "jobs.html.j2",
            jobs=found[(page - 1) * _JOBS : page * _JOBS],
            total=len(found),
            page=page,
            pages=pages,
            state=state,
            flow=flow,
            failure=failure,
            name=name,
            states=[(s, n) for s in STATES if (n := sum(j.state == s for j in everything))],
            failures=Counter(j.failure for j in everything if j.failure).most_common(),
            campaigns=self.desk.campaigns(),
            live=any(j.state == "running" for j in found),
        )

    def job(self, request: Request) -> Response:
        """One job: state, attempts, the end of its logs, cause and remedy."""
        view = self.desk.job(request.path_params["ref"])
        return self._page(request, "job.html.j2", job=view, live=view.row.state == "running")

    def file(self, request: Request) -> Response:
        """Show a file that an attempt of a job left, as text; never one outside the study."""
        asked = request.path_params
        view = self.desk.job(asked["ref"])
        attempt = next((a for a in view.attempts if a.number == asked["number"]), None)
        path = inside(attempt.directory, asked["path"], self.desk.root) if attempt else None
        if path is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, "There is no such file of this job.")
        long = path.stat().st_size > _LARGEST
        kind = "attachment" if long or b"\0" in _head(path) else "inline"
        from starlette.responses import FileResponse

        return FileResponse(
            path,
            media_type="text/plain; charset=utf-8" if kind == "inline" else "application/octet-stream",
            filename=path.name,
            content_disposition_type=kind,
        )

    def trajectories(self, request: Request) -> Response:
        """List the trajectories, those that grow included."""
        found = self.desk.trajectories()
        live = any(not one.complete for one in found)
        return self._page(request, "trajectories.html.j2", trajectories=found, live=live)

    def trajectory(self, request: Request) -> Response:
        """One trajectory while it grows: how far, how warm, what moves, what should worry."""
        found = self.desk.trajectory(request.path_params["name"])
        words = progress.describe_progress(found.path)
        return self._page(request, "trajectory.html.j2", trajectory=found, words=words)

    def progress(self, request: Request) -> Response:
        """Temperature and energy of a trajectory as far as it is."""
        found = self.desk.trajectory(request.path_params["name"])
        drawn = figure_file(
            Curve("", progress.describe_progress(found.path), partial(progress.progress_figure, found.path))
        )
        return Response(drawn, media_type="image/svg+xml", headers={"Cache-Control": "no-store"})

    def kinds(self, request: Request) -> Response:
        """List the kinds of results."""
        self.desk.refresh()
        return self._page(request, "kinds.html.j2", kinds=self.desk.results.kinds())

    def results(self, request: Request) -> Response:
        """One page of the table of a kind of results."""
        kind = request.path_params["kind"]
        known = self.desk.results.kinds()
        if kind not in known:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"There are no results of kind {kind!r} in this study.")
        query = [(k, v) for k, v in request.query_params.multi_items() if k != "token"]
        found = self.lister.listing(kind, query)
        code = HTTPStatus.BAD_REQUEST if found.error else HTTPStatus.OK
        return self._page(request, "results.html.j2", status_code=code, listing=found)

    def result(self, request: Request) -> Response:
        """One result."""
        return self._page(request, "result.html.j2", page=self._result(request.path_params["identity"]))

    def record(self, request: Request) -> Response:
        """One result as it is stored."""
        found = self.desk.results.get(request.path_params["identity"])
        name = f"{found['kind']}-{found['id'][:12]}.json"
        text = json.dumps(found, indent=1, default=str)
        head = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(text, media_type="application/json", headers=head)

    def figure(self, request: Request) -> Response:
        """One figure of a result, drawn now."""
        page = self._result(request.path_params["identity"])
        curve = page.curves.get(request.path_params["name"])
        if curve is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, "This result has no such figure.")
        head = {"Cache-Control": "private, max-age=3600"}
        return Response(figure_file(curve), media_type="image/svg+xml", headers=head)

    def styles(self, _request: Request) -> Response:
        """Return the style sheet, its colours those of every figure."""
        return Response(
            _template("dashboard.css.j2").render(style=style, viewer=viewer.css()), media_type="text/css"
        )

    def script(self, request: Request) -> Response:
        """One of the scripts that ship with the package."""
        name = _SCRIPTS.get(request.path_params["name"])
        if name is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, "There is no such file.")
        head = {"Cache-Control": "private, max-age=3600"}
        return Response(_asset(name), media_type="text/javascript", headers=head)

    def act(self, request: Request) -> Response:
        """Do what a person asks of a job or a campaign; who may ask was checked at the door."""
        asked = request.path_params
        if asked["what"] not in {"job", "flow"} or asked["verb"] not in list(Verb):
            raise HTTPException(HTTPStatus.NOT_FOUND, "There is no such action.")
        done = self.desk.act(Verb(asked["verb"]), asked["ref"])
        if request.headers.get("accept", "").startswith("application/json"):
            return JSONResponse({"done": done})
        place = f"/job/{asked['ref']}" if asked["what"] == "job" else "/"
        return RedirectResponse(place, HTTPStatus.SEE_OTHER)

    def own_error(self, request: Request, error: Exception) -> Response:
        """Show an error of ours with its remedy."""
        what, remedy = (error.what, error.remedy) if isinstance(error, EpilayerError) else (str(error), "")
        code = HTTPStatus.BAD_REQUEST
        if isinstance(error, InputError) and request.url.path.startswith(
            ("/job/", "/result/", "/trajectory/")
        ):
            code = HTTPStatus.NOT_FOUND
        if request.headers.get("accept", "").startswith("application/json"):
            return JSONResponse({"what": what, "remedy": remedy}, code)
        return self._page(request, "error.html.j2", status_code=code, what=what, remedy=remedy)

    def http_error(self, request: Request, error: Exception) -> Response:
        """Show that there is no such page."""
        code = error.status_code if isinstance(error, HTTPException) else HTTPStatus.INTERNAL_SERVER_ERROR
        known = isinstance(error, HTTPException) and error.detail != HTTPStatus(code).phrase
        what = error.detail if known and isinstance(error, HTTPException) else "There is no such page."
        return self._page(
            request, "error.html.j2", status_code=code, what=what, remedy="Go back to the campaigns."
        )

    def fault(self, request: Request, error: Exception) -> Response:
        """Say that something went wrong that should not have; the terminal has the traceback."""
        return self._page(
            request,
            "error.html.j2",
            status_code=HTTPStatus.INTERNAL_SERVER_ERROR,
            what=f"The page could not be made ({type(error).__name__}).",
            remedy="The terminal that runs epilayer dashboard shows why.",
        )

    def _result(self, identity: str) -> Page:
        document = self.desk.results.get(identity)
        key = (document["id"], json.dumps(document["fields"], sort_keys=True, default=str))
        if key not in self._pages:
            self._pages[key] = page_of(document, self.desk)
            while len(self._pages) > _KEPT:
                self._pages.popitem(last=False)
        return self._pages[key]

    def _page(
        self,
        request: Request,
        template: str,
        *,
        status_code: int = HTTPStatus.OK,
        **shown: Any,  # noqa: ANN401  (what the template shows)
    ) -> Response:
        may_act = bool(request.scope.get("state", {}).get("may_act"))
        text = _template(template).render(
            study=self.desk.name,
            here=request.url.path,
            address=request.url.path + (f"?{request.url.query}" if request.url.query else ""),
            may_act=may_act,
            **shown,
        )
        return HTMLResponse(text, status_code, headers={"Cache-Control": "no-store"})


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4096)


@cache
def _asset(name: str) -> bytes:
    home = "epilayer.dashboard" if name == "dashboard.js" else "epilayer.report"
    return (files(home) / "assets" / name).read_bytes()


@cache
def _environment() -> Any:  # noqa: ANN401  (jinja2 has no place at the top of a module of the command line)
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("epilayer.dashboard"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"words": words, "doi_links": doi_links, "cell": cell, "size": size, "when": when}
    environment.globals.update(states=STATES, about={kind.name: kind.about for kind in KINDS.values()})
    return environment


@cache
def _template(name: str) -> Any:  # noqa: ANN401  (a jinja2 template)
    return _environment().get_template(name)


def cell(value: Any, field: str = "") -> str:  # noqa: ANN401  (any scalar)
    """Return a scalar of a record as a table shows it: energies under one another to three decimals."""
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, float) and field.endswith("_ev"):
        return f"{value:.3f}".replace("-", "\N{MINUS SIGN}")
    return phrases.plain(value)


def size(number: int) -> str:
    """Return a number of bytes in words."""
    for unit, step in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= step:
            return f"{number / step:.1f} {unit}"
    return f"{number} B"


def when(time: Any) -> str:  # noqa: ANN401  (a datetime, or one as text)
    """Return a time to the minute, in UTC as it is stored."""
    text = time.isoformat() if hasattr(time, "isoformat") else str(time)
    return text[:16].replace("T", " ")
