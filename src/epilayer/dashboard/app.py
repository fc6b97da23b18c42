"""The pages of the dashboard: Starlette and Jinja; everything a page shows of the study is escaped."""

from __future__ import annotations

import json
import threading
from collections import Counter, OrderedDict
from enum import StrEnum
from functools import cache, partial
from http import HTTPStatus
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from epilayer.dashboard import progress
from epilayer.dashboard.curves import Curve
from epilayer.dashboard.guard import Guard
from epilayer.dashboard.listing import Lister
from epilayer.dashboard.result import figure_file, page_of
from epilayer.dashboard.templating import STATES, template
from epilayer.launch.base import JobState
from epilayer.model.errors import EpilayerError, InputError
from epilayer.report import style, viewer
from epilayer.study import trajectories
from epilayer.study.jobs import neighbours, rerun_command
from epilayer.study.rerunning import Selection

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from epilayer import Study
    from epilayer.dashboard.result import Page

_SCRIPTS: Final = {"3Dmol.js": "3Dmol-2.5.5.min.js", "viewer.js": "viewer.js", "dashboard.js": "dashboard.js"}
_JOBS: Final = 100
_FAILED_AT_HOME: Final = 20
_KEPT: Final = 8
_LARGEST: Final = 4 << 20  # bytes of a file that is shown in the browser; a longer one is offered whole


class Action(StrEnum):
    """What a person may ask of a job or a flow."""

    RERUN = "rerun"
    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"


def create_app(
    study: Study, *, port: int, token: str | None = None, private: bool = False, acts: bool = True
) -> ASGIApp:
    """Return the dashboard of a study as an ASGI application.

    Parameters
    ----------
    study
        What is shown.
    port
        The port it listens on, which every request must name.
    token
        What a person must show to act; ``None`` where nobody may.
    private
        Whether reading needs the token too.
    acts
        Whether the token lets a person act, or only read.
    """
    return Guard(Pages(study).app(), port=port, token=token, private=private, acts=acts)


class Pages:
    """The routes of one study's dashboard."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.results = study.results()
        self.lister = Lister(self.results)
        self._pages: OrderedDict[tuple[str, str], Page] = OrderedDict()
        self._completed: int | None = None
        self._refreshing = threading.Lock()

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
                Route("/results/{kind}", self.table),
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
        self._refresh()
        queue = self.study.queue()
        flows = sorted(queue.flows(), key=lambda flow: -flow.number)
        failed = queue.jobs(state=JobState.FAILED)
        return self._page(
            request,
            "home.html.j2",
            flows=flows,
            failures=Counter(job.failure.kind for job in failed if job.failure).most_common(),
            failed=failed[:_FAILED_AT_HOME],
            n_failed=len(failed),
            kinds=self.results.kinds(),
            live=any(flow.counts[JobState.RUNNING] for flow in flows),
        )

    def jobs(self, request: Request) -> Response:
        """Jobs by state and class of failure."""
        asked = request.query_params
        state, flow, failure, name = (asked.get(key, "") for key in ("state", "flow", "failure", "name"))
        if state and state.upper() not in STATES:
            known = ", ".join(one.value.lower() for one in STATES)
            raise InputError(f"There is no state {state!r}.", f"The states are: {known}.")
        queue = self.study.queue()
        everything = queue.jobs(flow=flow or None)
        part = name.casefold()
        found = [
            j
            for j in everything
            if state.upper() in ("", j.state)
            and failure in ("", j.failure and j.failure.kind)
            and part in j.name.casefold()
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
            failures=Counter(j.failure.kind for j in everything if j.failure).most_common(),
            flows=sorted(queue.flows(), key=lambda flow: -flow.number),
            live=any(j.state is JobState.RUNNING for j in found),
        )

    def job(self, request: Request) -> Response:
        """One job: state, attempts, the end of its logs, cause and remedy."""
        queue = self.study.queue()
        job = queue.job(request.path_params["ref"])
        parents, children = neighbours(queue, job)
        return self._page(
            request,
            "job.html.j2",
            job=job,
            attempts=queue.attempts(job.number),
            parents=parents,
            children=children,
            records=self.study.records_of(job.uuid),
            command=rerun_command(self.study, job),
            live=job.state is JobState.RUNNING,
        )

    def file(self, request: Request) -> Response:
        """Show a file that an attempt of a job left, as text; never one outside the study."""
        asked = request.path_params
        attempts = self.study.queue().attempts(asked["ref"])
        attempt = next((a for a in attempts if a.number == asked["number"]), None)
        path = self.study.file(asked["path"], attempt.directory) if attempt else None
        if path is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, "There is no such file of this job.")
        long = path.stat().st_size > _LARGEST
        kind = "attachment" if long or b"\0" in _head(path) else "inline"
        return FileResponse(
            path,
            media_type="text/plain; charset=utf-8" if kind == "inline" else "application/octet-stream",
            filename=path.name,
            content_disposition_type=kind,
        )

    def trajectories(self, request: Request) -> Response:
        """List the trajectories, those that grow included."""
        found = trajectories.newest(self.study.root)
        live = any(not one.complete for one in found)
        return self._page(request, "trajectories.html.j2", trajectories=found, live=live)

    def trajectory(self, request: Request) -> Response:
        """One trajectory while it grows: how far, how warm, what moves, what should worry."""
        seen = self.study.trajectory(request.path_params["name"])
        facts = [(name, text) for name, text in seen.facts() if name not in {"run", "trajectory"}]
        moved = seen.motion.msd_ang2 if seen.motion else {}
        facts += [(f"MSD so far, {name}", f"{value:.3f} Å²") for name, value in moved.items()]
        words = progress.describe_progress(seen.progress.file)
        return self._page(
            request, "trajectory.html.j2", t=seen.progress, warnings=seen.warnings, facts=facts, words=words
        )

    def progress(self, request: Request) -> Response:
        """Temperature and energy of a trajectory as far as it is."""
        file = trajectories.named(self.study.root, request.path_params["name"])
        drawn = figure_file(
            Curve("", progress.describe_progress(file), partial(progress.progress_figure, file))
        )
        return Response(drawn, media_type="image/svg+xml", headers={"Cache-Control": "no-store"})

    def kinds(self, request: Request) -> Response:
        """List the kinds of results."""
        self._refresh()
        return self._page(request, "kinds.html.j2", kinds=self.results.kinds())

    def table(self, request: Request) -> Response:
        """One page of the table of a kind of results."""
        kind = request.path_params["kind"]
        known = self.results.kinds()
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
        found = self.results.get(request.path_params["identity"])
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
            template("dashboard.css.j2").render(style=style, viewer=viewer.css()), media_type="text/css"
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
        if asked["what"] not in {"job", "flow"} or asked["verb"] not in list(Action):
            raise HTTPException(HTTPStatus.NOT_FOUND, "There is no such action.")
        done = self._act(Action(asked["verb"]), asked["ref"])
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

    def _act(self, action: Action, ref: str) -> str:
        """Do what is asked of a job or a flow; return what was done, in a sentence."""
        match action:
            case Action.RERUN:
                flow = ref.startswith("f") and ref[1:].isdecimal()
                selection = Selection(failed=True, flow=ref) if flow else Selection((ref,))
                return f"{len(self.study.rerun(selection).report.jobs)} jobs will run again."
            case Action.CANCEL:
                return f"{len(self.study.cancel(ref).changed)} jobs cancelled."
            case Action.PAUSE:
                return f"{len(self.study.pause(ref).changed)} jobs paused."
            case Action.RESUME:
                return f"{len(self.study.resume(ref).changed)} jobs resumed."

    def _refresh(self) -> None:
        """Store the records of jobs that have completed since the last look."""
        with self._refreshing:
            queue = self.study.queue()
            completed = queue.status().counts[JobState.COMPLETED]
            if completed != self._completed:
                self.study.harvest(queue)
                self._completed = completed

    def _result(self, identity: str) -> Page:
        document = self.results.get(identity)
        key = (document["id"], json.dumps(document["fields"], sort_keys=True, default=str))
        if key not in self._pages:
            self._pages[key] = page_of(document, self.study, self.results)
            while len(self._pages) > _KEPT:
                self._pages.popitem(last=False)
        return self._pages[key]

    def _page(
        self,
        request: Request,
        file: str,
        *,
        status_code: int = HTTPStatus.OK,
        **shown: Any,  # noqa: ANN401  (what the template shows)
    ) -> Response:
        may_act = bool(request.scope.get("state", {}).get("may_act"))
        text = template(file).render(
            study=self.study.name,
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
