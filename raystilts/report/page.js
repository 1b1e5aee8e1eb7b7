"use strict";
// Sorting and filtering of the big table. Without this script the page is complete, only unsorted.
for (const box of document.querySelectorAll("[data-interactive]")) {
  const table = box.querySelector("table");
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const original = [...body.rows];
  const number = (cell) => {
    const value = parseFloat(cell.dataset.value ?? "");
    return Number.isNaN(value) ? Infinity : value;
  };
  const order = new Intl.Collator("en", { numeric: true });

  heads.forEach((head, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    const numeric = head.classList.contains("n");
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const sign = down ? -1 : 1;
      const rows = [...body.rows].sort((a, b) => {
        const [x, y] = [a.cells[place], b.cells[place]];
        if (!numeric) return sign * order.compare(x.textContent, y.textContent);
        const [u, v] = [number(x), number(y)];
        if (u === v) return 0;
        // What has no number stays at the end in both directions.
        if (u === Infinity || v === Infinity) return u === Infinity ? 1 : -1;
        return sign * (u - v);
      });
      body.replaceChildren(...rows);
    });
  });

  const controls = document.createElement("div");
  controls.className = "controls";
  const add = (label, element) => {
    const wrap = document.createElement("label");
    wrap.append(label, element);
    controls.append(wrap);
    return element;
  };
  const search = add("Search", document.createElement("input"));
  search.type = "search";
  search.placeholder = "language, code, task";
  const key = (cell) => cell.dataset.value || cell.textContent;
  const selects = heads.flatMap((head, place) => {
    if (!("filter" in head.dataset)) return [];
    const values = [...new Set(original.map((row) => key(row.cells[place])))];
    if (values.length < 2) return [];
    const select = add(head.textContent, document.createElement("select"));
    for (const value of ["", ...values]) select.append(new Option(value || "any", value));
    return [{ select, place }];
  });
  const reset = document.createElement("button");
  reset.type = "button";
  reset.textContent = "Reset";
  const count = document.createElement("output");
  count.setAttribute("aria-live", "polite");
  controls.append(reset, count);

  const show = () => {
    const wanted = search.value.trim().toLowerCase();
    let shown = 0;
    for (const row of original) {
      const keep = (!wanted || row.textContent.toLowerCase().includes(wanted))
        && selects.every(({ select, place }) => !select.value || key(row.cells[place]) === select.value);
      row.hidden = !keep;
      shown += keep;
    }
    count.textContent = `${shown} of ${original.length} rows`;
  };
  search.addEventListener("input", show);
  selects.forEach(({ select }) => select.addEventListener("change", show));
  reset.addEventListener("click", () => {
    search.value = "";
    selects.forEach(({ select }) => { select.value = ""; });
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    body.replaceChildren(...original);
    show();
  });
  show();
  box.prepend(controls);
}
// Paper cannot unfold anything.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((fold) => { fold.open = true; }));
