/* Keeps a page that changes fresh, says why a picture cannot be drawn and that a filter is at work, copies commands. */
"use strict";
(() => {
  const live = document.querySelector("[data-refresh]");
  const said = document.getElementById("said");

  async function refresh() {
    if (document.hidden || live.contains(document.activeElement)) return;
    try {
      const answer = await fetch(window.location.href, { headers: { Accept: "text/html" } });
      if (!answer.ok) throw new Error(String(answer.status));
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.querySelector("[data-refresh]");
      if (fresh && fresh.innerHTML !== live.dataset.was) {
        live.dataset.was = fresh.innerHTML;
        live.replaceChildren(...fresh.childNodes);
        enliven(live);
      }
      if (said.textContent) said.textContent = "";
      if (!fresh || fresh.dataset.refresh === "0") window.clearInterval(timer);
    } catch (error) {
      said.textContent = "The dashboard does not answer: is epilayer dashboard still running?";
    }
  }
  if (live) live.dataset.was = live.innerHTML;
  const seconds = live ? Number(live.dataset.refresh) : 0;
  const timer = seconds ? window.setInterval(refresh, 1000 * seconds) : 0;

  async function lost(image) {
    const note = document.createElement("p");
    note.className = "lost";
    note.textContent = "This picture could not be drawn.";
    image.replaceWith(note);
    try {
      const why = await (await fetch(image.src, { headers: { Accept: "application/json" } })).json();
      note.textContent += ` ${why.what} ${why.remedy}`;
    } catch (error) {
      // The page's own words stand below it.
    }
  }

  async function copy(button) {
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      said.textContent = "Copied: " + button.dataset.copy;
    } catch (error) {
      window.getSelection().selectAllChildren(button.previousElementSibling);
      said.textContent = "Selected: copy it with the keyboard.";
    }
  }

  function enliven(part) {
    for (const image of part.querySelectorAll("img.figure")) {
      const done = () => image.classList.add("drawn");
      image.addEventListener("load", done);
      image.addEventListener("error", () => lost(image));
      if (image.complete && image.currentSrc) (image.naturalWidth ? done : () => lost(image))();
    }
    for (const button of part.querySelectorAll("[data-copy]")) button.addEventListener("click", () => copy(button));
  }
  enliven(document);

  // On a phone the table comes first; the filters open when they are wanted.
  const more = document.querySelector("details.more");
  if (more && window.matchMedia("(max-width: 48rem)").matches) more.open = false;

  for (const form of document.querySelectorAll("form[data-busy]")) {
    form.addEventListener("submit", () => {
      said.textContent = form.dataset.busy;
      form.setAttribute("aria-busy", "true");
    });
    // Empty fields would only lengthen the address.
    form.addEventListener("formdata", (event) => {
      for (const [name, value] of Array.from(event.formData.entries())) if (!value) event.formData.delete(name);
    });
    for (const box of form.querySelectorAll("input[type=checkbox]")) box.addEventListener("change", () => form.requestSubmit());
  }
})();
