"use strict";
// Unpacks figures and builds tables when they come into view; sorts and filters; saves files. Every text is set as text, never as markup.
const COLOURS = PAGE_COLOURS;
const ROWS = 100; // more rows of a table are shown on demand
const SMALL = 60; // a page with so few figures is unpacked whole, so that it prints whole; of a larger one, what is unfolded

const make = (tag, text = "", attributes = {}) => {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};

// ---- figures

const withPdf = "pdf" in document.body.dataset; // a large page holds none: there the browser prints a figure, also to a file
const files = new Map();
const unpack = async (figure) => {
  const name = figure.dataset.figure;
  if (!files.has(name)) {
    const bytes = Uint8Array.from(atob(figure.querySelector("script").textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    files.set(name, new Response(stream).json());
  }
  return files.get(name);
};

const show = async (figure) => {
  const slot = figure.querySelector("svg.slot");
  if (!slot || figure.dataset.shown) return;
  figure.dataset.shown = "yes";
  const { svg } = await unpack(figure);
  const drawn = document.importNode(new DOMParser().parseFromString(svg, "image/svg+xml").documentElement, true);
  // The page's colours follow light, dark and print; its caption says what a tooltip would repeat.
  drawn.querySelector("title")?.remove();
  for (const element of [drawn, ...drawn.querySelectorAll("*")])
    for (const name of ["fill", "stroke"]) {
      const colour = COLOURS[element.getAttribute(name)];
      if (colour) element.setAttribute(name, colour);
      if (element.tagName === "text" && !element.hasAttribute("fill")) element.setAttribute("fill", "var(--ink)");
    }
  for (const name of ["width", "height"]) drawn.setAttribute(name, slot.getAttribute(name));
  drawn.setAttribute("role", "img");
  drawn.setAttribute("aria-label", slot.parentElement.getAttribute("aria-label"));
  slot.replaceWith(drawn);
};

const save = (name, parts, type) => {
  const link = make("a", "", { download: name });
  link.href = URL.createObjectURL(new Blob(parts, { type }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
};

const TYPES = { svg: "image/svg+xml", pdf: "application/pdf", csv: "text/csv" };
const saveFigure = async (figure, ending) => {
  if (ending === "pdf" && !withPdf) return printOne(figure);
  const found = await unpack(figure);
  const data = ending === "pdf" ? Uint8Array.from(atob(found.pdf), (letter) => letter.charCodeAt(0)) : found[ending];
  return save(`${figure.dataset.figure}.${ending}`, [data], TYPES[ending]);
};

const printOne = async (figure) => {
  await show(figure);
  document.body.classList.add("one");
  figure.classList.add("one");
  print();
  document.body.classList.remove("one");
  figure.classList.remove("one");
};

const figures = [...document.querySelectorAll("[data-figure]")];
for (const figure of figures) {
  const group = make("span", "", { class: "saves" });
  for (const ending of Object.keys(TYPES)) {
    const text = ending === "pdf" && !withPdf ? "Print" : ending.toUpperCase();
    const button = make("button", text, { type: "button", "data-save": ending });
    button.setAttribute("aria-label", `${text === "Print" ? "Print, or save as PDF" : `Save as ${text}`}: ${figure.querySelector(".scroll").getAttribute("aria-label")}`);
    button.addEventListener("click", () => saveFigure(figure, ending));
    group.append(button);
  }
  figure.querySelector("figcaption").append(" ", group);
}

// ---- tables

const order = new Intl.Collator("en", { numeric: true });
const value = (cell) => cell[1] ?? Infinity;

const build = (box) => {
  if (box.dataset.shown) return;
  box.dataset.shown = "yes";
  const { title, columns, rows } = JSON.parse(document.getElementById(box.dataset.table).textContent);
  const read = (row, place) => (columns[place].words ? columns[place].words[row[place]] : [row[place][0]]);
  const key = (row, place) => { const [text, kind] = read(row, place); return kind || text; };
  const interactive = "interactive" in box.dataset;
  let kept = rows, limit = ROWS, sorted = null;

  const body = make("tbody");
  const more = make("button", "", { type: "button", class: "more" });
  const draw = () => {
    body.replaceChildren(...kept.slice(0, limit).map((row) => {
      const line = make("tr");
      columns.forEach((column, place) => {
        const [text, kind] = read(row, place);
        const cell = place === 0 && interactive ? make("th", text, { scope: "row" }) : make("td", text);
        if (column.number) cell.className = "n";
        else if (kind) cell.className = kind;
        if (text.length > 36) cell.classList.add("long");
        line.append(cell);
      });
      return line;
    }));
    more.hidden = kept.length <= limit;
    more.textContent = `Show all ${kept.length} rows`;
    more.dataset.paper = `The first ${limit} of ${kept.length} rows.`;
  };
  more.addEventListener("click", () => { limit = Infinity; draw(); });

  const sort = () => {
    if (!sorted) return;
    const { place, down } = sorted, sign = down ? -1 : 1;
    const keys = new Map(kept.map((row) => [row, columns[place].number ? value(row[place]) : read(row, place)[0]]));
    kept = [...kept].sort((a, b) => {
      const [x, y] = [keys.get(a), keys.get(b)];
      if (!columns[place].number) return sign * order.compare(x, y);
      if (x === y) return 0;
      // What has no number stays at the end in both directions.
      return x === Infinity || y === Infinity ? (x === Infinity ? 1 : -1) : sign * (x - y);
    });
  };

  const heads = columns.map((column, place) => {
    const head = make("th", "", { scope: "col" });
    if (column.number) head.className = "n";
    if (!interactive) { head.textContent = column.title; return head; }
    const button = make("button", column.title, { type: "button" });
    button.addEventListener("click", () => {
      sorted = { place, down: head.getAttribute("aria-sort") === "ascending" };
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
      sort();
      draw();
    });
    head.append(button);
    return head;
  });

  const table = make("table", "", { id: `${box.dataset.table}-rows` });
  const line = make("tr");
  line.append(...heads);
  const head = make("thead");
  head.append(line);
  table.append(make("caption", title, { class: "sr" }), head, body);
  const scroll = make("div", "", { class: "scroll", tabindex: "0", role: "region", "aria-label": title });
  scroll.append(table);
  box.prepend(scroll, more);
  if (interactive && rows.length > 5) box.prepend(controls());
  draw();

  function controls() {
    const group = make("div", "", { class: "controls" });
    const add = (label, element) => {
      const wrap = make("label", label);
      wrap.append(element);
      group.append(wrap);
      return element;
    };
    const search = add("Search", make("input", "", { type: "search", placeholder: "name, code, task" }));
    const selects = columns.flatMap((column, place) => {
      if (!column.filter) return [];
      const values = [...new Set(rows.map((row) => key(row, place)))];
      if (values.length < 2) return [];
      const select = add(column.title, make("select"));
      for (const one of ["", ...values]) select.append(new Option(one || "any", one));
      return [{ select, place }];
    });
    const reset = make("button", "Reset", { type: "button" });
    const csv = make("button", "CSV", { type: "button", "aria-label": `Save the rows shown as CSV: ${title}` });
    const count = make("output", "", { "aria-live": "polite" });
    group.append(reset, csv, count);
    const filter = () => {
      const wanted = search.value.trim().toLowerCase();
      kept = rows.filter((row) =>
        (!wanted || columns.some((_, place) => read(row, place)[0].toLowerCase().includes(wanted)))
        && selects.every(({ select, place }) => !select.value || key(row, place) === select.value));
      limit = ROWS;
      sort();
      draw();
      count.textContent = `${kept.length} of ${rows.length} rows`;
    };
    search.addEventListener("input", filter);
    selects.forEach(({ select }) => select.addEventListener("change", filter));
    reset.addEventListener("click", () => {
      search.value = "";
      selects.forEach(({ select }) => { select.value = ""; });
      heads.forEach((one) => one.removeAttribute("aria-sort"));
      sorted = null;
      filter();
    });
    csv.addEventListener("click", () => {
      const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
      const lines = [columns.map((column) => column.title), ...kept.map((row) => columns.map((_, place) => read(row, place)[0]))];
      save(`${box.dataset.table}.csv`, [lines.map((cells) => `${cells.map(quoted).join(",")}\n`).join("")], TYPES.csv);
    });
    count.textContent = `${rows.length} of ${rows.length} rows`;
    return group;
  }
};

// ---- when they are looked at

const parts = [...document.querySelectorAll("[data-figure], [data-table]")];
const whole = figures.length <= SMALL;
const unfolded = (part) => !part.closest("details:not([open])");
const reveal = (part) => (part.dataset.figure ? show : build)(part);
document.body.classList.toggle("large", !whole);

// First what comes near the screen; then, while the browser has nothing else to do, the rest of what is unfolded, since it may be printed.
const near = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) if (isIntersecting) { near.unobserve(target); reveal(target); }
}, { rootMargin: "600px" });
parts.forEach((part) => near.observe(part));

const idle = window.requestIdleCallback ?? ((call) => setTimeout(call, 0, { timeRemaining: () => 0 }));
const waiting = [];
let working = false;
const work = async (deadline) => {
  try {
    do {
      const part = waiting.shift();
      if (!part) break;
      near.unobserve(part);
      await reveal(part);
    } while (deadline.timeRemaining() > 0);
  } finally {
    working = waiting.length > 0;
    if (working) idle(work);
  }
};
const later = (found) => {
  waiting.push(...found);
  if (!working) { working = true; idle(work); }
};
later(whole ? parts : parts.filter(unfolded));
document.addEventListener("toggle", ({ target }) => {
  if (target.open) later([...target.querySelectorAll("[data-figure], [data-table]")].filter(unfolded));
}, true);

// Paper cannot unfold anything. What a large page has folded away is hundreds of sheets that nobody asked for.
addEventListener("beforeprint", () => {
  if (document.body.classList.contains("one")) return;
  parts.filter((part) => part.dataset.table && (whole || unfolded(part))).forEach(build);
  for (const fold of whole ? document.querySelectorAll("details:not([open])") : []) { fold.open = true; fold.dataset.printed = ""; }
});
addEventListener("afterprint", () => {
  for (const fold of document.querySelectorAll("details[data-printed]")) { fold.open = false; delete fold.dataset.printed; }
});
