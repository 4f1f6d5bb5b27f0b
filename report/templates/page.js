// The page's own script: it lists, filters and sorts galaxies, and shows one with its tree. All text stays text.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const tree = treeOf(data.layout);
  const byId = (id) => document.getElementById(id);
  const questions = [...tree.questions].sort((a, b) => a.number - b.number);
  const NUM_ANSWERS = 37;

  function make(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value !== null && value !== undefined) made.setAttribute(key, value);
    }
    made.append(...children);
    return made;
  }

  const row = (values, number) => values.slice(number * NUM_ANSWERS, (number + 1) * NUM_ANSWERS);
  const fractions = (values, number) => row(values, number).map((value) => Math.max(0, value) / data.scale);
  const percent = (value) => (Number.isNaN(value) || value < 0 ? "–" : `${Math.round(100 * value)}%`);

  for (const place of document.querySelectorAll("[data-tree]")) {
    const { votes, label } = data.trees[Number(place.dataset.tree)];
    const all = fractions(votes, 0);
    place.append(tree.draw(all, "", `${label}: ${tree.pathInWords(all)}`));
  }
  if (!data.galaxies) return;

  const { names, votes, others, weighted, spreads, flags, flagWords, columns, pictures, fields: skies, spreadScale } = data.galaxies;
  const indices = names.map((_, number) => number);
  const known = (number) => votes[number * NUM_ANSWERS] >= 0;
  const ways = indices.map((number) => (known(number) ? tree.pathInWords(fractions(votes, number)) : ""));
  const told = indices.map((number) => wordsOf(number).join(", "));
  const searched = indices.map((number) =>
    [names[number], ways[number], ...columns.map((column) => (column.numeric ? "" : column.values[number]))]
      .join("\n").toLowerCase());
  const questionOf = [];
  for (const question of questions) question.answers.forEach((_, k) => { questionOf[question.first + k] = question; });

  // What a list shows of an answer: of those asked, or of all; NaN where hardly anybody was asked.
  function shown(values, number, answer) {
    const vote = values[number * NUM_ANSWERS + answer];
    if (vote < 0) return NaN;
    if (weighted) return vote / data.scale;
    const question = questionOf[answer];
    let total = 0;
    for (let k = 0; k < question.answers.length; k++) total += values[number * NUM_ANSWERS + question.first + k];
    return total / data.scale >= data.layout.asked - 1e-9 ? vote / total : NaN;
  }

  function wordsOf(number) {
    if (!flags) return [];
    return Object.entries(flagWords).filter(([bit]) => flags[number] & Number(bit)).map(([, words]) => words.split(":")[0]);
  }

  const picture = (number) => (pictures[number] ? `data:image/webp;base64,${pictures[number]}` : "");
  const number = (value, digits) => (value === null ? "–" : value.toFixed(digits));

  // What the list shows, and by what it is sorted: titles, values, how they are written.
  const listed = columns.filter((column) => column.listed);
  const fields = [
    { key: "name", title: "Name", value: (n) => names[n], text: (n) => names[n] },
    { key: "way", title: "Likeliest way", value: (n) => ways[n], text: (n) => ways[n] },
    {
      key: "answer", title: "Answer", numeric: true,
      value: (n) => shown(votes, n, chosen.answer), text: (n) => percent(shown(votes, n, chosen.answer)),
    },
    ...columns.map((column, place) => ({
      key: `column${place}`, title: column.title, numeric: column.numeric, hidden: !column.listed, help: column.help,
      value: (n) => (column.values[n] === null ? NaN : column.values[n]),
      text: (n) => (column.numeric ? number(column.values[n], column.digits) : column.values[n]),
    })),
  ];
  if (flags) fields.push({ key: "flags", title: "Flags", value: (n) => told[n], text: (n) => told[n] });
  const fieldOf = (key) => fields.find((each) => each.key === key);

  const collator = new Intl.Collator("en", { numeric: true });

  // Sorts rows by a field, what is unknown last whichever way; rows that are the same stay in order.
  function sorted(rows, by, greatestFirst) {
    const values = new Map(rows.map((n) => [n, by.value(n)]));
    const unknown = (value) => value === "" || Number.isNaN(value);
    const sign = greatestFirst ? -1 : 1;
    return [...rows].sort((a, b) => {
      const [x, y] = [values.get(a), values.get(b)];
      if (unknown(x) || unknown(y)) return unknown(x) - unknown(y) || a - b;
      return sign * (by.numeric ? x - y : collator.compare(x, y)) || a - b;
    });
  }

  const PAGE = 50;
  const chosen = { answer: 0, find: "", least: 0, flag: "", order: "", greatestFirst: false, page: 0 };
  let visible = indices;
  let open = null;

  function matches(n) {
    if (chosen.find && !searched[n].includes(chosen.find)) return false;
    if (chosen.least > 0 && !(shown(votes, n, chosen.answer) >= chosen.least / 100)) return false;
    if (chosen.flag === "none") return flags[n] === 0;
    if (chosen.flag === "any") return flags[n] !== 0;
    return !chosen.flag || (flags[n] & Number(chosen.flag)) !== 0;
  }

  function refresh() {
    const found = indices.filter(matches);
    visible = chosen.order ? sorted(found, fieldOf(chosen.order), chosen.greatestFirst) : found;
    if (!chosen.order && chosen.greatestFirst) visible.reverse();
    chosen.page = Math.max(0, Math.min(chosen.page, Math.ceil(visible.length / PAGE) - 1));
    list();
  }

  function list() {
    const start = chosen.page * PAGE;
    const rows = visible.slice(start, start + PAGE);
    const body = document.querySelector("#rows tbody");
    body.replaceChildren(...rows.map(rowOf));
    const all = names.length.toLocaleString("en");
    byId("told").textContent = `${visible.length.toLocaleString("en")} of ${all} ${data.galaxies.noun}`;
    const pages = Math.max(1, Math.ceil(visible.length / PAGE));
    byId("where").textContent = `${chosen.page + 1} of ${pages}`;
    byId("earlier").disabled = chosen.page === 0;
    byId("later").disabled = chosen.page === pages - 1;
    byId("pages").hidden = pages === 1;
    for (const head of document.querySelectorAll("#rows thead th[data-key]")) {
      const way = chosen.greatestFirst ? "descending" : "ascending";
      head.setAttribute("aria-sort", head.dataset.key === chosen.order ? way : "none");
    }
    byId("order").value = chosen.order;
    byId("turn").setAttribute("aria-pressed", String(chosen.greatestFirst));
    const title = answerTitle(chosen.answer);
    document.querySelector('#rows th[data-key="answer"] button').textContent = title;
    for (const cell of document.querySelectorAll('#rows td[data-key="answer"]')) cell.dataset.title = title;
  }

  function rowOf(n) {
    const made = make("tr", { role: "row" });
    const shownPicture = picture(n) ? make("img", { src: picture(n), alt: "" }) : make("span");
    made.append(make("td", { role: "cell", class: "picture" }, shownPicture));
    const button = make("button", { type: "button" }, names[n]);
    made.append(make("td", { role: "cell", class: "name" }, button));
    for (const each of fields.slice(1).filter((each) => !each.hidden)) {
      const look = [each.numeric ? "number" : "", each.key].filter(Boolean).join(" ");
      const title = each.key === "way" ? null : each.title;
      made.append(make("td", { role: "cell", class: look, "data-title": title, "data-key": each.key }, each.text(n)));
    }
    made.addEventListener("click", () => show(n));
    return made;
  }

  const answerTitle = (answer) => questionOf[answer].answers[answer - questionOf[answer].first];

  // One galaxy: its tree, what is known of it, and all its answers.
  function show(n) {
    open = n;
    byId("galaxy-name").textContent = names[n];
    byId("galaxy-way").textContent = ways[n] || "No answers: it could not be read.";
    const drawn = known(n) ? [tree.draw(fractions(votes, n), picture(n), `Its tree: ${ways[n]}`)] : [];
    byId("galaxy-tree").hidden = !known(n);
    byId("galaxy-tree").replaceChildren(...drawn);
    const image = byId("galaxy-picture");
    image.hidden = !picture(n);
    if (picture(n)) image.src = picture(n);
    image.alt = picture(n) ? `Picture of ${names[n]}` : "";
    const facts = columns.map((column) => [
      column.title, column.numeric ? number(column.values[n], column.digits) : column.values[n],
    ]);
    if (flags) facts.push(["flags", Object.entries(flagWords).filter(([bit]) => flags[n] & Number(bit))
      .map(([, words]) => words).join("; ") || "none"]);
    byId("galaxy-facts").replaceChildren(...facts.filter(([, value]) => value !== "" && value !== "–")
      .map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
    byId("galaxy-answers").replaceChildren(...(known(n) ? questions.map((question) => answersOf(n, question)) : []));
    const place = visible.indexOf(n);
    byId("before").disabled = place <= 0;
    byId("next").disabled = place < 0 || place === visible.length - 1;
    if (!byId("galaxy").open) byId("galaxy").showModal();
    byId("galaxy").scrollTop = 0;
  }

  function answersOf(n, question) {
    const likely = new Set(tree.path(fractions(votes, n)).map(([each, k]) => each.first + k));
    const asked = tree.asked(fractions(votes, n), question);
    const made = make("table", { class: asked < data.layout.asked ? "question unasked" : "question" });
    made.append(make("caption", {}, `${question.text} Asked of ${percent(asked)}.`));
    const body = make("tbody");
    question.answers.forEach((answer, k) => {
      const column = question.first + k;
      const value = shown(votes, n, column);
      const cells = [make("th", { scope: "row" }, answer), make("td", { class: "number" }, percent(value))];
      cells.push(make("td", {}, drawnBar(n, column, value)), make("td", { class: "told" }, spreadOf(n, column)));
      body.append(make("tr", { class: likely.has(column) ? "likely" : null }, ...cells));
    });
    made.append(body);
    return made;
  }

  function spreadOf(n, column) {
    const parts = [];
    if (others) parts.push(`volunteers ${percent(shown(others, n, column))}`);
    const of = (name) => (spreads[name] ? spreads[name][n * NUM_ANSWERS + column] : -1);
    if (of("low68") >= 0) parts.push(`${Math.round((100 * of("low68")) / spreadScale)}–${percent(of("high68") / spreadScale)}`);
    if (of("transforms") >= 0) parts.push(`±${((100 * of("transforms")) / spreadScale).toFixed(1)}`);
    if (of("models") >= 0) parts.push(`models ±${((100 * of("models")) / spreadScale).toFixed(1)}`);
    return parts.join(", ");
  }

  function drawnBar(n, column, value) {
    const space = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(space, "svg");
    svg.setAttribute("viewBox", "0 0 100 10");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    const draw = (name, attributes) => {
      const made = document.createElementNS(space, name);
      for (const [key, each] of Object.entries(attributes)) made.setAttribute(key, each);
      svg.append(made);
    };
    draw("rect", { class: "ground", width: 100, height: 10 });
    if (!Number.isNaN(value)) draw("rect", { class: "share", width: 100 * value, height: 10 });
    const low = spreads.low68 ? spreads.low68[n * NUM_ANSWERS + column] : -1;
    if (low >= 0) {
      const [x1, x2] = [low, spreads.high68[n * NUM_ANSWERS + column]].map((each) => (100 * each) / spreadScale);
      draw("line", { x1, x2, y1: 5, y2: 5 });
    }
    const other = others ? shown(others, n, column) : NaN;
    if (!Number.isNaN(other)) draw("line", { class: "other", x1: 100 * other, x2: 100 * other, y1: -1, y2: 11 });
    return svg;
  }

  // The picture of a field, its galaxies as marks that keys reach.
  function drawField(field) {
    const space = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(space, "svg");
    svg.setAttribute("viewBox", `0 0 ${field.width} ${field.height}`);
    svg.setAttribute("role", "group");
    svg.setAttribute("aria-label", `${field.title}: ${field.marks.length} galaxies`);
    const image = document.createElementNS(space, "image");
    for (const [key, value] of Object.entries({ width: field.width, height: field.height, href: field.picture })) {
      image.setAttribute(key, value);
    }
    svg.append(image);
    field.marks.forEach(([x, y, radius], place) => {
      const n = field.rows[place];
      const mark = document.createElementNS(space, "g");
      const label = `${names[n]}: ${ways[n]}`;
      for (const [key, value] of Object.entries({ class: "mark", tabindex: "0", role: "button", "aria-label": label })) {
        mark.setAttribute(key, value);
      }
      const title = document.createElementNS(space, "title");
      title.textContent = label;
      const circle = document.createElementNS(space, "circle");
      // Positions count from 0 at the centre of a pixel.
      const least = Math.max(field.width, field.height) / 120;
      for (const [key, value] of Object.entries({ cx: x + 0.5, cy: y + 0.5, r: Math.max(radius, least) })) {
        circle.setAttribute(key, value);
      }
      mark.append(title, circle);
      mark.addEventListener("click", () => show(n));
      mark.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") {
          event.preventDefault();
          show(n);
        }
      });
      svg.append(mark);
    });
    const figure = make("figure", {});
    figure.append(svg);
    if (skies.length > 1) figure.append(make("figcaption", {}, field.title));
    byId("fields-here").append(figure);
  }

  function option(value, text) {
    return make("option", { value }, text);
  }

  function groupsOf(prefix) {
    return questions.map((question) => make("optgroup", { label: question.text },
      ...question.answers.map((answer, k) => option(`${prefix}${question.first + k}`, answer))));
  }

  function begin() {
    byId("answer").append(...groupsOf(""));
    const order = byId("order");
    order.append(option("", "as they came"), ...fields.map((each) => option(each.key, each.title.toLowerCase())));
    if (flags) {
      const bits = Object.entries(flagWords).filter(([bit]) => flags.some((each) => each & Number(bit)));
      byId("flag").append(option("", "any or none"), option("none", "none"), option("any", "any"),
        ...bits.map(([bit, words]) => option(bit, words.split(":")[0])));
      byId("flag").addEventListener("change", (event) => change({ flag: event.target.value }));
    }
    const head = document.querySelector("#rows thead tr");
    head.append(make("th", { role: "columnheader", scope: "col" }, make("span", { class: "unseen" }, "Picture")));
    for (const each of fields.filter((each) => !each.hidden)) {
      const button = make("button", { type: "button", title: each.help || null }, each.title);
      button.addEventListener("click", () => change({
        order: each.key,
        greatestFirst: chosen.order === each.key ? !chosen.greatestFirst : Boolean(each.numeric),
      }));
      const look = each.numeric ? "number" : null;
      head.append(make("th", { role: "columnheader", scope: "col", "data-key": each.key, class: look }, button));
    }
    const listen = (id, kind, of) => byId(id).addEventListener(kind, (event) => change(of(event.target)));
    listen("find", "input", (input) => ({ find: input.value.trim().toLowerCase() }));
    listen("answer", "change", (input) => ({ answer: Number(input.value), order: "answer", greatestFirst: true }));
    listen("least", "input", (input) => ({ least: Number(input.value) }));
    listen("order", "change", (input) => ({ order: input.value }));
    byId("turn").addEventListener("click", () => change({ greatestFirst: !chosen.greatestFirst }));
    byId("choices").addEventListener("submit", (event) => event.preventDefault());
    byId("choices").addEventListener("reset", () =>
      setTimeout(() => change({ find: "", least: 0, flag: "", answer: 0, ...firstOrder() })));
    for (const [id, by] of [["earlier", -1], ["later", 1]]) {
      byId(id).addEventListener("click", () => {
        chosen.page += by;
        list();
        byId("galaxies").scrollIntoView();
      });
    }
    byId("close").addEventListener("click", () => byId("galaxy").close());
    byId("before").addEventListener("click", () => turn(-1));
    byId("next").addEventListener("click", () => turn(1));
    byId("galaxy").addEventListener("click", (event) => event.target === byId("galaxy") && byId("galaxy").close());
    byId("galaxy").addEventListener("keydown", (event) => {
      if (event.target.closest(".scroll")) return;
      if (event.key === "ArrowLeft") turn(-1);
      if (event.key === "ArrowRight") turn(1);
    });
    Object.assign(chosen, firstOrder());
    for (const button of document.querySelectorAll(".gallery button")) {
      const n = Number(button.dataset.row);
      const image = picture(n) ? make("img", { src: picture(n), alt: "" }) : make("span", { class: "nothing" });
      const words = button.dataset.words || ways[n];
      button.append(image, make("span", { class: "called" }, names[n]), make("span", { class: "words" }, words));
      button.addEventListener("click", () => show(n));
    }
    skies.forEach(drawField);
    refresh();
  }

  function firstOrder() {
    const [title, greatestFirst] = data.galaxies.order ?? ["", false];
    return { order: fields.find((each) => each.title === title)?.key ?? "", greatestFirst };
  }

  function turn(by) {
    const next = visible[visible.indexOf(open) + by];
    if (next !== undefined) show(next);
  }

  function change(values) {
    Object.assign(chosen, values, { page: 0 });
    byId("least-told").textContent = `${chosen.least}%`;
    refresh();
  }

  begin();
})();
