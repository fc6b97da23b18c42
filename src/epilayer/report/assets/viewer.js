/* One 3Dmol viewer for a page of pictures: it stands in the place of whichever still is being turned. */
"use strict";
(() => {
  const boxes = Array.from(document.querySelectorAll("[data-view]"));
  if (!boxes.length || typeof $3Dmol === "undefined") return;
  let stage = null, viewer = null, live = null, upright = null;

  const button = (text, act) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.addEventListener("click", act);
    return made;
  };

  function draw(data) {
    viewer.removeAllModels();
    viewer.removeAllShapes();
    viewer.removeAllLabels();
    const atoms = data.kinds.map((kind, i) => {
      const look = data.looks[kind];
      return {
        elem: look.elem, serial: i, x: data.xyz[3 * i], y: data.xyz[3 * i + 1], z: data.xyz[3 * i + 2],
        bonds: [], bondOrder: [], color: look.color,
        style: { sphere: { radius: look.radius, color: look.color }, stick: { radius: look.stick, color: look.color } },
      };
    });
    for (const [i, j] of data.bonds) {
      atoms[i].bonds.push(j); atoms[i].bondOrder.push(1);
      atoms[j].bonds.push(i); atoms[j].bondOrder.push(1);
    }
    viewer.addModel().addAtoms(atoms);
    const at = (p) => ({ x: p[0], y: p[1], z: p[2] });
    for (const [start, end] of data.edges) viewer.addLine({ start: at(start), end: at(end), color: "#5b636d" });
    if (data.contact) {
      const [i, j, text] = data.contact;
      const a = atoms[i], b = atoms[j];
      viewer.addCylinder({ start: a, end: b, radius: 0.05, color: "#1f2328", dashed: true });
      viewer.addLabel(text, {
        position: { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, z: (a.z + b.z) / 2 },
        fontSize: 11, fontColor: "#1f2328", backgroundColor: "#ffffff", backgroundOpacity: 0.8, inFront: true,
      });
    }
    viewer.spin(false);
    viewer.zoomTo();
    // The fit is by width: in a wide stage the same factor would cut off the top.
    viewer.zoom(stage.clientWidth > 1.7 * stage.clientHeight ? 0.9 : 1.35);
    upright = viewer.getView();
    viewer.render();
  }

  function turn(where) {
    viewer.spin(false);
    viewer.setView(upright);
    if (where === "top") viewer.rotate(90, "x");
    if (where === "tilt") { viewer.rotate(-20, "y"); viewer.rotate(20, "x"); }
    viewer.render();
  }

  function open(box) {
    if (live) close(live);
    if (!stage) {
      stage = document.createElement("div");
      stage.className = "stage";
      stage.tabIndex = 0;
      stage.setAttribute("role", "application");
    }
    stage.setAttribute("aria-label", box.dataset.label + " Drag, or use the arrow keys, to turn it; wheel or + and - to zoom.");
    const still = box.querySelector(".still");
    box.insertBefore(stage, still);
    still.hidden = true;
    box.classList.add("live");
    try {
      if (!viewer) viewer = $3Dmol.createViewer(stage, { backgroundColor: "#ffffff", antialias: true, orthographic: true });
      if (!viewer) throw new Error("no WebGL");
      viewer.resize();
      draw(JSON.parse(document.getElementById(box.dataset.view).textContent));
      turn("tilt");
      live = box;
      box.querySelector(".turn").textContent = "Show the still";
    } catch (error) {
      viewer = null;
      still.hidden = false;
      stage.remove();
      stage = null;
      box.classList.remove("live");
      box.querySelector(".tools").textContent = "This browser offers no WebGL, so the still picture is shown.";
    }
  }

  function close(box) {
    viewer.spin(false);
    stage.remove();
    box.querySelector(".still").hidden = false;
    box.classList.remove("live");
    box.querySelector(".turn").textContent = "Turn it in 3D";
    live = null;
  }

  for (const box of boxes) {
    const tools = document.createElement("div");
    tools.className = "tools";
    const toggle = button("Turn it in 3D", () => (live === box ? close(box) : open(box)));
    toggle.classList.add("turn");
    let spinning = false;
    const spin = button("Spin", () => { spinning = !spinning; viewer.spin(spinning ? "y" : false, 0.5); });
    const views = [["Side", "side"], ["Top", "top"], ["Tilted", "tilt"]].map(([text, where]) =>
      button(text, () => { spinning = false; turn(where); }));
    for (const extra of [...views, spin]) extra.classList.add("whenlive");
    tools.append(toggle, ...views, spin);
    box.append(tools);
  }

  document.addEventListener("keydown", (event) => {
    if (!live || document.activeElement !== stage) return;
    const moves = { ArrowLeft: [-10, "y"], ArrowRight: [10, "y"], ArrowUp: [-10, "x"], ArrowDown: [10, "x"] };
    if (moves[event.key]) viewer.rotate(...moves[event.key]);
    else if (event.key === "+" || event.key === "=") viewer.zoom(1.15);
    else if (event.key === "-") viewer.zoom(1 / 1.15);
    else return;
    event.preventDefault();
    viewer.render();
  });
  window.addEventListener("resize", () => { if (live) { viewer.resize(); viewer.render(); } });
  if (document.body.dataset.start === "3d") open(boxes[0]);
})();
