"use strict";
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const data = JSON.parse(document.getElementById("data").textContent);

  // Tables. Those in a closed part of the page are made when it is opened.
  const words = { search: "Search", zeroRecords: "Nothing fits.", info: "_START_ to _END_ of _TOTAL_", infoEmpty: "", infoFiltered: "(of _MAX_)" };
  // Numbers; what has none comes last, whichever way is up.
  const value = (given) => (given === "" || given === null ? null : Number(given));
  const inOrder = (sign) => (a, b) => (a === null ? (b === null ? 0 : 1) : b === null ? -1 : sign * (a - b));
  Object.assign(DataTable.ext.type.order, { "gaps-last-pre": value, "gaps-last-asc": inOrder(1), "gaps-last-desc": inOrder(-1) });
  const makeTable = (table) => {
    if (table.dataset.made) return;
    table.dataset.made = "yes";
    const searched = table.dataset.search === "true";
    const columnDefs = all("thead th", table).flatMap((head, at) =>
      head.dataset.first ? [{ targets: at, orderSequence: ["desc", "asc", ""] }] : []);
    columnDefs.push({ targets: "_all", orderSequence: ["asc", "desc", ""] });
    if (table.classList.contains("numbers")) {
      columnDefs.push({ targets: all("thead th", table).map((_, at) => at).slice(1), type: "gaps-last" });
    }
    // The layout's cells stand outside of what scrolls.
    const made = new DataTable(table, {
      paging: false, info: false, searching: searched, order: [], autoWidth: false, columnDefs, language: words,
      layout: { topStart: null, topEnd: null, bottomStart: null, bottomEnd: null },
    });
    if (searched) addSearch(table, made);
  };
  const addSearch = (table, made) => {
    const label = document.createElement("label");
    label.className = "bar dt-search";
    label.append("Search ");
    const input = document.createElement("input");
    input.type = "search";
    input.addEventListener("input", () => made.search(input.value).draw());
    label.append(input);
    table.closest(".scroll").before(label);
  };
  const makeTables = (within) => all("table.sortable", within).filter((table) => !table.closest("details:not([open])")).forEach(makeTable);
  makeTables(document);

  const text = DataTable.render.text();
  const digits = { display: (value) => (value === null ? "–" : String(Number(Number(value).toPrecision(3)))) };
  const number = { render: (value, type) => (type === "display" ? digits.display(value) : value), className: "number", type: "gaps-last", orderSequence: ["desc", "asc", ""] };
  const scores = new DataTable("#scores-table", {
    data: data.scores, pageLength: 25, order: [], autoWidth: false, deferRender: true, language: words,
    columns: [0, 1, 2, 3].map(() => ({ render: text })).concat([4, 5, 6, 7, 8].map(() => number), [{ render: text }]),
    layout: { topStart: null, topEnd: null, bottomStart: null, bottomEnd: null, top2: null },
  });
  const region = document.getElementById("scores-table").closest(".scroll");
  addSearch(document.getElementById("scores-table"), scores);
  pager(scores, region);
  all("#scores-cut select").forEach((choice) => choice.addEventListener("change", () => {
    scores.column(Number(choice.dataset.column)).search(choice.value, { exact: choice.value !== "" }).draw();
  }));

  function pager(table, after) {
    const bar = document.createElement("div");
    bar.className = "bar";
    const told = document.createElement("output");
    told.setAttribute("aria-live", "polite");
    const buttons = [["Previous", "previous"], ["Next", "next"]].map(([word, where]) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = word;
      button.addEventListener("click", () => table.page(where).draw("page"));
      return button;
    });
    bar.append(buttons[0], told, buttons[1]);
    after.after(bar);
    const show = () => {
      const page = table.page.info();
      told.textContent = page.recordsDisplay ? `${page.start + 1} to ${page.end} of ${page.recordsDisplay}` : "none";
      buttons[0].disabled = page.page === 0;
      buttons[1].disabled = page.page >= page.pages - 1;
    };
    table.on("draw", show);
    show();
  }

  // Plots, drawn when they come near.
  const config = { displayModeBar: false, responsive: true };
  const draw = (figure) => {
    if (figure.dataset.drawn) return;
    figure.dataset.drawn = "yes";
    const views = data.plots[figure.dataset.plot];
    const canvas = figure.querySelector(".canvas");
    const choice = figure.querySelector("select");
    const show = () => {
      const view = views[choice ? Number(choice.value) : 0];
      const narrow = canvas.clientWidth < 640;
      const traces = view.data.map((trace) => (trace.meta === "named" && narrow ? { ...trace, mode: "markers", showlegend: true } : trace));
      return Plotly.react(canvas, traces, view.layout, config);
    };
    if (choice) choice.addEventListener("change", show);
    show();
  };
  const near = new IntersectionObserver((entries) => entries.forEach((entry) => {
    if (entry.isIntersecting) draw(entry.target);
  }), { rootMargin: "600px" });
  all(".plot").forEach((figure) => near.observe(figure));

  // Parts that fold.
  all("details").forEach((part) => part.addEventListener("toggle", () => part.open && makeTables(part)));
  const unfold = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target) for (let part = target.closest("details"); part; part = part.parentElement.closest("details")) part.open = true;
  };
  window.addEventListener("hashchange", unfold);
  unfold();
  let folded = [];
  window.addEventListener("beforeprint", () => {
    folded = all("details:not([open])");
    folded.forEach((part) => { part.open = true; });
    all(".plot").forEach(draw);
  });
  window.addEventListener("afterprint", () => folded.forEach((part) => { part.open = false; }));

  // The gallery.
  const controls = document.getElementById("gallery-controls");
  if (controls) {
    const gallery = document.getElementById("gallery");
    const apply = () => {
      const { task, outcome, size, outline } = controls.elements;
      gallery.style.setProperty("--tile", `${size.value}px`);
      gallery.classList.toggle("no-edge", !outline.checked);
      let shown = 0;
      all(".hall", gallery).forEach((hall) => {
        const exhibits = all(".exhibit", hall);
        exhibits.forEach((one) => { one.hidden = outcome.value !== "" && one.dataset.outcome !== outcome.value; });
        hall.hidden = (task.value !== "" && hall.dataset.task !== task.value) || exhibits.every((one) => one.hidden);
        shown += hall.hidden ? 0 : exhibits.filter((one) => !one.hidden).length;
      });
      controls.querySelector("output").textContent = shown === 1 ? "1 image" : `${shown} images`;
    };
    controls.addEventListener("input", apply);
    controls.addEventListener("submit", (event) => event.preventDefault());
    apply();
  }
})();
