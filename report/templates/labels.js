// Labels by key: a queue of galaxies, ranked again after each label; labels are kept by the browser and saved as CSV.
"use strict";
function labelsOf({ rare, names, make, picture, isTrusted, show, openGalaxy }) {
  const byId = (id) => document.getElementById(id);
  const SHOWN = 24;
  const NAMES = ["wanted", "other"];
  const MAX_NAME = 60;
  const STORED = `galaxy-labels:${rare.key}`;
  const bytes = Uint8Array.from(atob(rare.features), (character) => character.charCodeAt(0));
  const ranking = labelFitOf(new Int8Array(bytes.buffer), rare.size, rare.scale);
  const rows = names.map((_, n) => n);
  const keyOf = (n) => `${rare.ids[n]}\n${rare.files[n]}`;
  const rowOf = new Map(rows.map((n) => [keyOf(n), n]));
  const rowsOfId = new Map();
  for (const n of rows) rowsOfId.set(rare.ids[n], [...(rowsOfId.get(rare.ids[n]) ?? []), n]);

  // Of each labelled galaxy by its key: { id, file, label, time }, the label from 1 to 9. A map keeps their order.
  let labels = new Map();
  let titles = [...NAMES, ...Array(9 - NAMES.length).fill("")];
  let undone = [];
  let like = null;
  let byLikeness = false;
  let current = null;
  let queue = [];

  const labelOf = (n) => labels.get(keyOf(n))?.label ?? 0;
  const title = (label) => titles[label - 1] || `label ${label}`;
  const wanted = () => Number(byId("wanted-label").value) || 1;

  function store() {
    try {
      localStorage.setItem(STORED, JSON.stringify({ titles, labels: [...labels.values()] }));
      byId("label-fault").textContent = "";
    } catch {
      byId("label-fault").textContent = "This browser does not keep labels: save them as CSV before you leave.";
    }
  }

  // Take labels from the browser's storage; anything that is no label is left out.
  function restore(text) {
    let stored = {};
    try { stored = JSON.parse(text ?? localStorage.getItem(STORED)) ?? {}; } catch { /* damaged, or no storage */ }
    const isText = (value) => typeof value === "string";
    if (Array.isArray(stored.titles) && stored.titles.length === 9 && stored.titles.every(isText)) {
      titles = stored.titles.map((each) => each.slice(0, MAX_NAME));
    }
    labels = new Map();
    for (const each of Array.isArray(stored.labels) ? stored.labels : []) {
      const whole = each && isText(each.id) && isText(each.file) && isText(each.time);
      if (whole && Number.isInteger(each.label) && each.label >= 1 && each.label <= 9) {
        labels.set(`${each.id}\n${each.file}`, { id: each.id, file: each.file, label: each.label, time: each.time });
      }
    }
  }

  // Scores of all galaxies: by the fit, or by the distance to what is wanted; null where nothing is wanted yet.
  function scoresNow() {
    if (byLikeness && like !== null) return ranking.nearness([like]);
    const labelled = [...labels].filter(([key]) => rowOf.has(key)).map(([key, each]) => [rowOf.get(key), each.label]);
    const of = (test) => labelled.filter(([, label]) => test(label === wanted())).map(([n]) => n);
    const positive = of((is) => is);
    const negative = of((is) => !is);
    if (!positive.length && like !== null && !labelOf(like)) positive.push(like);
    if (!positive.length) return null;
    return negative.length ? ranking.scores(ranking.fit(positive, negative)) : ranking.nearness(positive);
  }

  function rank() {
    const scores = scoresNow();
    const rest = rows.filter((n) => !labelOf(n) && rare.known[n] && !(byLikeness && n === like));
    if (scores) {
      const likely = [...rest].sort((a, b) => scores[b] - scores[a] || a - b);
      const order = byId("queue-order").value;
      // Distances have no boundary: the least certain are those in the middle.
      const middle = labels.size && !byLikeness && scores.some((score) => score > 0) ? 0 : scores[likely[likely.length >> 1]];
      const unsure = () => [...rest].sort((a, b) => Math.abs(scores[a] - middle) - Math.abs(scores[b] - middle) || a - b);
      if (order === "likely" || byLikeness) queue = likely;
      else if (order === "unsure") queue = unsure();
      else {
        const second = unsure();
        queue = [...new Set(likely.flatMap((n, k) => [n, second[k]]))];
      }
    } else {
      queue = rest;
    }
    current = queue[0] ?? null;
    draw();
  }

  function draw() {
    byId("stage").hidden = current === null;
    if (current !== null) {
      byId("stage-picture").src = picture(current);
      byId("stage-picture").alt = `Picture of ${names[current]}`;
      byId("stage-picture").hidden = !picture(current);
      byId("stage-name").textContent = names[current];
      byId("stage-note").textContent = [labelOf(current) ? `Label: ${title(labelOf(current))}.` : "",
        isTrusted(current) ? "" : "Its answers are not trusted."].filter(Boolean).join(" ");
    }
    byId("queue").replaceChildren(...queue.filter((n) => n !== current).slice(0, SHOWN).map((n) => {
      const button = make("button", { type: "button", class: isTrusted(n) ? null : "untrusted" },
        picture(n) ? make("img", { src: picture(n), alt: "" }) : make("span", { class: "nothing" }),
        make("span", { class: "name" }, names[n]));
      button.addEventListener("click", () => { current = n; draw(); byId("stage").focus(); });
      return make("li", {}, button);
    }));
    for (const button of document.querySelectorAll("[data-label]")) {
      button.disabled = !titles[button.dataset.label - 1] || current === null;
      const number = [...labels.values()].filter((each) => each.label === Number(button.dataset.label)).length;
      button.textContent = number ? `${button.dataset.label} (${number})` : button.dataset.label;
    }
    const way = byLikeness && like !== null ? `Ranked by likeness to ${names[like]}. ` : "";
    byId("label-count").textContent =
      `${way}${labels.size} ${labels.size === 1 ? "label" : "labels"}; ${queue.length.toLocaleString("en")} galaxies to go.`;
    byId("undo").disabled = !undone.length;
    byId("save-labels").disabled = !labels.size;
    byId("delete-labels").disabled = !labels.size;
  }

  function drawNames() {
    const select = byId("wanted-label");
    const before = select.value;
    const used = titles.map((_, k) => k + 1).filter((label) => titles[label - 1]);
    select.replaceChildren(...used.map((label) => make("option", { value: label }, title(label))));
    if (used.includes(Number(before))) select.value = before;
    titles.forEach((each, k) => { byId(`label-name-${k + 1}`).value = each; });
  }

  // Change labels; `change` is given a copy of the map.
  function change(alter) {
    undone.push([labels, titles]);
    if (undone.length > 1000) undone.shift();
    [labels, titles] = [new Map(labels), [...titles]];
    alter();
    byLikeness = false;
    store();
    drawNames();
    rank();
  }

  function assign(label, n) {
    if (n === null || !titles[label - 1]) return;
    change(() => {
      labels.delete(keyOf(n)); // the latest label comes last
      labels.set(keyOf(n), { id: rare.ids[n], file: rare.files[n], label, time: new Date().toISOString() });
    });
  }

  function undo() {
    if (!undone.length) return;
    const latest = [...labels.keys()].pop();
    [labels, titles] = undone.pop();
    store();
    drawNames();
    rank();
    if (latest !== undefined && !labels.has(latest) && rowOf.has(latest)) {
      current = rowOf.get(latest);
      draw();
    }
  }

  function skip() {
    const next = queue[queue.indexOf(current) + 1];
    if (next !== undefined) current = next;
    draw();
  }

  function moreLike(n) {
    [like, byLikeness] = [n, true];
    rank();
    byId("rare").scrollIntoView();
    byId("stage").focus({ preventScroll: true });
  }

  const quoted = (text) => (/[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

  function save() {
    const lines = [...labels.values()].map((each) =>
      [each.id, each.file, title(each.label), each.time].map(quoted).join(","));
    const text = `${["id_str,file_loc,label,time", ...lines].join("\n")}\n`;
    const link = make("a", { download: "labels.csv" });
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.click();
    URL.revokeObjectURL(link.href);
  }

  // The cells of a CSV, row by row.
  function cellsOf(text) {
    const [table, pattern] = [[[]], /("(?:[^"]|"")*"|[^,"\r\n]*)(,|\r\n|\n|\r|$)/gy];
    while (pattern.lastIndex < text.length) {
      const match = pattern.exec(text);
      if (!match) throw new Error("a quote is not closed");
      table.at(-1).push(match[1].startsWith('"') ? match[1].slice(1, -1).replaceAll('""', '"') : match[1].trim());
      if (match[2] !== "," && pattern.lastIndex < text.length) table.push([]);
    }
    return table.filter((row) => row.some(Boolean));
  }

  // Add the labels of a CSV; nothing changes if one of its rows cannot be used.
  function load(text) {
    const [head = [], ...body] = cellsOf(text.replace(/^\ufeff/, ""));
    const column = (name) => head.map((each) => each.toLowerCase()).indexOf(name);
    const [id, file, label, time] = ["id_str", "file_loc", "label", "time"].map(column);
    if (id < 0 || label < 0) throw new Error("expected the columns id_str and label");
    const found = [...titles];
    const added = body.map((row, number) => {
      const name = row[label] ?? "";
      if (!row[id] || !name) throw new Error(`row ${number + 1} has no ${row[id] ? "label" : "id_str"}`);
      if (name.length > MAX_NAME) throw new Error(`row ${number + 1} has a label of more than ${MAX_NAME} characters`);
      if (!found.includes(name)) {
        const unused = found.findIndex((each, k) => !each
          || (![...labels.values()].some((own) => own.label === k + 1) && NAMES[k] === each && !body.some((own) => own[label] === each)));
        if (unused < 0) throw new Error("there are more than nine labels");
        found[unused] = name;
      }
      const own = (rowsOfId.get(row[id]) ?? []).filter((n) => file < 0 || !row[file] || rare.files[n] === row[file]);
      const at = own.length === 1 ? rare.files[own[0]] : row[file] ?? "";
      return { id: row[id], file: at, label: found.indexOf(name) + 1, time: row[time] ?? "" };
    });
    change(() => {
      titles = found;
      for (const each of added) labels.set(`${each.id}\n${each.file}`, each);
    });
    const missing = added.filter((each) => !rowOf.has(`${each.id}\n${each.file}`)).length;
    return `${added.length} labels are loaded${missing ? `; ${missing} are of galaxies that this page does not show` : ""}.`;
  }

  function begin() {
    byId("rare-tools").hidden = false;
    byId("label-names").append(...titles.map((_, k) => {
      const button = make("button", { type: "button", "data-label": k + 1, "aria-label": `Assign label ${k + 1}` }, `${k + 1}`);
      button.addEventListener("click", () => assign(k + 1, current));
      const input = make("input", { id: `label-name-${k + 1}`, maxlength: MAX_NAME, autocomplete: "off", "aria-label": `Name of label ${k + 1}` });
      input.addEventListener("change", () => {
        const name = input.value.trim();
        const isUsed = [...labels.values()].some((each) => each.label === k + 1);
        if ((name || !isUsed) && !titles.some((each, other) => name && each === name && other !== k)) titles[k] = name;
        store();
        drawNames();
        draw();
      });
      return make("li", {}, button, input);
    }));
    restore();
    drawNames();
    for (const id of ["wanted-label", "queue-order"]) {
      byId(id).addEventListener("change", () => { byLikeness = false; rank(); });
    }
    byId("undo").addEventListener("click", undo);
    byId("skip").addEventListener("click", skip);
    byId("save-labels").addEventListener("click", save);
    byId("delete-labels").addEventListener("click", () => change(() => labels.clear()));
    byId("stage-like").addEventListener("click", () => moreLike(current));
    byId("stage-open").addEventListener("click", () => show(current));
    byId("load-labels").addEventListener("change", async (event) => {
      const [chosen] = event.target.files;
      try {
        byId("label-fault").textContent = chosen ? load(await chosen.text()) : "";
      } catch (error) {
        byId("label-fault").textContent = `The labels cannot be loaded: ${error.message}.`;
      }
      event.target.value = "";
    });
    byId("rare-tools").addEventListener("submit", (event) => event.preventDefault());
    addEventListener("storage", (event) => {
      if (event.key !== STORED) return;
      restore(event.newValue);
      drawNames();
      rank();
    });
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !byId("keys-label").checked) return;
      if (event.target.closest?.("input:not([type=checkbox]), select, textarea, summary")) return;
      const galaxy = openGalaxy() ?? current;
      if (/^[1-9]$/.test(event.key)) assign(Number(event.key), galaxy);
      else if (event.key === "0" && openGalaxy() === null) skip();
      else if (event.key === "Backspace" || event.key === "u") undo();
      else return;
      event.preventDefault();
    });
    rank();
  }

  begin();
  return { moreLike, labelOf: (n) => (labelOf(n) ? title(labelOf(n)) : "") };
}
