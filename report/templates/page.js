// The script of a page: it lists, filters and sorts galaxies, shows one with its tree, and serves the maps of fields.
// Text is set as text, never as markup.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
  if (!data.galaxies) return;

  const tree = treeOf(data.layout);
  const byId = (id) => document.getElementById(id);
  const questions = [...tree.questions].sort((a, b) => a.number - b.number);
  const NUM_ANSWERS = data.layout.numAnswers;
  const {
    names, votes, others, weighted, spreads, spreadScale, flags, flagWords, untrusted, columns, pictures, paths,
    known: knownQuestions, average, interval, noun,
  } = data.galaxies;
  const known = new Set(knownQuestions);
  const indices = names.map((_, n) => n);
  const questionOf = [];
  for (const question of questions) question.answers.forEach((_, k) => { questionOf[question.first + k] = question; });
  const answerTitle = (column) => questionOf[column].answers[column - questionOf[column].first];
  const answersOf = indices.map((n) => paths[n].map(answerTitle));
  const words = answersOf.map((answers) => answers.join(", "));
  const texts = indices.map((n) =>
    [names[n], ...columns.filter((column) => !column.numeric).map((column) => column.values[n])].join("\n").toLowerCase());

  function make(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value !== null && value !== undefined) made.setAttribute(key, value);
    }
    made.append(...children);
    return made;
  }

  const fractions = (values, n) =>
    values.slice(n * NUM_ANSWERS, (n + 1) * NUM_ANSWERS).map((value) => Math.max(0, value) / data.scale);
  const percent = (value) => (Number.isNaN(value) || value < 0 ? "–" : `${Math.round(100 * value)}%`);
  const format = (value, digits) => (value === null ? "–" : value.toFixed(digits));
  const count = (value) => value.toLocaleString("en");
  const hasAnswers = (n) => votes[n * NUM_ANSWERS] >= 0;
  const isTrusted = (n) => !flags || (flags[n] & untrusted) === 0;
  const picture = (n) => (pictures[n] ? `data:image/webp;base64,${pictures[n]}` : "");

  // The fraction of an answer: among those asked, or weighted; NaN if almost nobody is asked.
  function fraction(values, n, column) {
    const vote = values[n * NUM_ANSWERS + column];
    if (vote < 0) return NaN;
    if (weighted) return vote / data.scale;
    const question = questionOf[column];
    let total = 0;
    for (let k = 0; k < question.answers.length; k++) total += values[n * NUM_ANSWERS + question.first + k];
    return total / data.scale >= data.layout.asked - 1e-9 ? vote / total : NaN;
  }

  // Flags of a galaxy: "name: description", those that make it untrusted first.
  function warningsOf(n) {
    if (!flags) return [];
    const bits = Object.keys(flagWords).map(Number).filter((bit) => flags[n] & bit);
    return bits.sort((a, b) => ((b & untrusted) > 0) - ((a & untrusted) > 0) || a - b).map((bit) => flagWords[bit]);
  }
  const warnings = indices.map((n) => warningsOf(n).map((text) => text.split(":")[0]).join(", "));

  // Columns of the list: titles, values, texts.
  const fields = [
    { key: "name", title: "Name", value: (n) => names[n], text: (n) => names[n] },
    { key: "path", title: data.galaxies.pathTitle, value: (n) => words[n], text: (n) => words[n] },
    {
      key: "answer", title: "Answer", numeric: true,
      value: (n) => fraction(votes, n, chosen.answer), text: (n) => percent(fraction(votes, n, chosen.answer)),
    },
    ...columns.map((column, index) => ({
      key: `column${index}`, title: column.title, numeric: column.numeric, hidden: !column.listed, help: column.help,
      value: (n) => (column.values[n] === null ? NaN : column.values[n]),
      text: (n) => (column.numeric ? format(column.values[n], column.digits) : column.values[n]),
    })),
  ];
  if (flags) fields.push({ key: "flags", title: "Warnings", value: (n) => warnings[n], text: (n) => warnings[n] });
  const fieldOf = (key) => fields.find((field) => field.key === key);
  const collator = new Intl.Collator("en", { numeric: true });

  // Sort rows by a field. Unknown values come last in both directions; equal rows keep their order.
  function sorted(rows, field, descending) {
    const values = new Map(rows.map((n) => [n, field.value(n)]));
    const unknown = (value) => value === "" || Number.isNaN(value);
    const sign = descending ? -1 : 1;
    return [...rows].sort((a, b) => {
      const [x, y] = [values.get(a), values.get(b)];
      if (unknown(x) || unknown(y)) return unknown(x) - unknown(y) || a - b;
      return sign * (field.numeric ? x - y : collator.compare(x, y)) || a - b;
    });
  }

  const PAGE = 50;
  const FIRST_SHOW = flags ? "trusted" : "";
  const chosen = { answer: 0, find: "", least: 0, show: FIRST_SHOW, order: "", descending: false, page: 0 };
  let visible = indices;
  let open = null;

  // A text finds names and texts that contain it, and galaxies with this answer: "bar" does not find "no bar".
  const matchesText = (n) =>
    !chosen.find || texts[n].includes(chosen.find) || answersOf[n].some((answer) => answer.toLowerCase() === chosen.find);
  const matchesLeast = (n) => chosen.least === 0 || fraction(votes, n, chosen.answer) >= chosen.least / 100;
  const SHOWS = {
    "": () => true, trusted: isTrusted, untrusted: (n) => !isTrusted(n), none: (n) => flags[n] === 0,
  };
  const matchesShow = (n) => (SHOWS[chosen.show] ?? ((row) => (flags[row] & Number(chosen.show)) !== 0))(n);

  function refresh() {
    const matching = indices.filter((n) => matchesText(n) && matchesLeast(n));
    const selected = matching.filter(matchesShow);
    visible = chosen.order ? sorted(selected, fieldOf(chosen.order), chosen.descending) : selected;
    if (!chosen.order && chosen.descending) visible.reverse();
    chosen.page = Math.max(0, Math.min(chosen.page, Math.ceil(visible.length / PAGE) - 1));
    const rest = matching.length - selected.length;
    let text = `${count(visible.length)} of ${count(names.length)} ${noun}.`;
    if (!visible.length) text += ` ${whyEmpty(matching)}`;
    else if (rest) text += ` Not shown: ${count(rest)}${chosen.show === "trusted" ? " that cannot be trusted" : ""}.`;
    byId("count").textContent = text;
    byId("show-all").hidden = !rest;
    byId("export").disabled = !visible.length;
    list();
    const shown = new Set(visible);
    for (const mark of document.querySelectorAll(".mark")) {
      mark.classList.toggle("filtered", !shown.has(Number(mark.dataset.row)));
    }
    maps.forEach((map) => map.reset());
  }

  function whyEmpty(matching) {
    if (!names.length) return "";
    if (matching.length) return `${count(matching.length)} match, but none is in “${showTitle()}”.`;
    const reasons = [];
    if (chosen.find && !indices.some(matchesText)) {
      const all = [...new Set(answersOf.flat())].filter((answer) => answer.toLowerCase().includes(chosen.find));
      reasons.push(`No name contains “${chosen.find}”, and no galaxy has this answer.`);
      if (all.length) reasons.push(`Answers that contain it: ${all.join(", ")}.`);
    }
    if (!indices.some(matchesLeast)) reasons.push(`No galaxy has ${chosen.least}% of “${answerTitle(chosen.answer)}”.`);
    return reasons.join(" ") || "No galaxy matches all filters.";
  }

  const showTitle = () => byId("show").selectedOptions[0].textContent;

  function list() {
    const start = chosen.page * PAGE;
    document.querySelector("#rows tbody").replaceChildren(...visible.slice(start, start + PAGE).map(rowOf));
    const pages = Math.max(1, Math.ceil(visible.length / PAGE));
    byId("page-number").textContent = `${chosen.page + 1} of ${pages}`;
    byId("previous-page").disabled = chosen.page === 0;
    byId("next-page").disabled = chosen.page === pages - 1;
    byId("pages").hidden = pages === 1;
    for (const head of document.querySelectorAll("#rows thead th[data-key]")) {
      const direction = chosen.descending ? "descending" : "ascending";
      head.setAttribute("aria-sort", head.dataset.key === chosen.order ? direction : "none");
    }
    byId("order").value = chosen.order;
    byId("descending").setAttribute("aria-pressed", String(chosen.descending));
    const title = answerTitle(chosen.answer);
    document.querySelector('#rows th[data-key="answer"] button').textContent = title;
    for (const cell of document.querySelectorAll('#rows td[data-key="answer"]')) cell.dataset.title = title;
  }

  function rowOf(n) {
    const row = make("tr", { role: "row", class: isTrusted(n) ? null : "untrusted" });
    row.append(make("td", { role: "cell", class: "picture" },
      picture(n) ? make("img", { src: picture(n), alt: "" }) : make("span")));
    row.append(make("td", { role: "cell", class: "name" }, make("button", { type: "button" }, names[n])));
    for (const field of fields.slice(1).filter((each) => !each.hidden)) {
      const look = [field.numeric ? "number" : "", field.key].filter(Boolean).join(" ");
      const title = field.key === "path" ? null : field.title;
      row.append(make("td", { role: "cell", class: look, "data-title": title, "data-key": field.key }, field.text(n)));
    }
    row.addEventListener("click", () => show(n));
    return row;
  }

  // One galaxy: warnings, tree, measurements, all answers.
  function show(n) {
    open = n;
    byId("galaxy-name").textContent = names[n];
    byId("galaxy-name").href = address(n);
    history.replaceState(null, "", address(n));
    const texts = warningsOf(n);
    const note = isTrusted(n) ? "Warnings" : "Do not trust these answers";
    byId("galaxy-warnings").hidden = !texts.length;
    byId("galaxy-warnings").classList.toggle("untrusted", !isTrusted(n));
    byId("galaxy-warnings").replaceChildren(make("strong", {}, note),
      make("ul", {}, ...texts.map((text) => make("li", {}, text))));
    const share = columns.find((column) => column.title === data.galaxies.pathColumn);
    const percentage = share ? ` (${share.title} ${format(share.values[n], share.digits)} %)` : "";
    byId("galaxy-path").textContent = words[n] ? `${data.galaxies.pathTitle}: ${words[n]}${percentage}` : "No answers.";
    const drawn = hasAnswers(n) ? [tree.draw(fractions(votes, n), paths[n], picture(n), `Its tree: ${words[n]}`)] : [];
    byId("galaxy-tree").hidden = !hasAnswers(n);
    byId("galaxy-tree").replaceChildren(...drawn);
    byId("galaxy-note").textContent = spreads.low68 ? interval : "";
    const image = byId("galaxy-picture");
    image.hidden = !picture(n);
    if (picture(n)) image.src = picture(n);
    image.alt = picture(n) ? `Picture of ${names[n]}` : "";
    const facts = columns.map((column) =>
      [column.title, column.numeric ? format(column.values[n], column.digits) : column.values[n]]);
    byId("galaxy-facts").replaceChildren(...facts.filter(([, value]) => value !== "" && value !== "–")
      .map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
    byId("galaxy-answers").replaceChildren(...(hasAnswers(n) ? questions.map((each) => tableOf(n, each)) : []));
    const place = visible.indexOf(n);
    byId("previous").disabled = place <= 0;
    byId("next").disabled = place < 0 || place === visible.length - 1;
    if (!byId("galaxy").open) byId("galaxy").showModal();
    byId("galaxy").scrollTop = 0;
  }

  const address = (n) => `#id=${encodeURIComponent(names[n].toWellFormed?.() ?? names[n])}`;

  // Show the galaxy that the address names.
  function follow() {
    const n = indices.findIndex((row) => address(row) === location.hash);
    if (n >= 0) show(n);
  }

  function tableOf(n, question) {
    const asked = tree.asked(fractions(votes, n), question);
    const made = make("table", { class: asked < data.layout.asked ? "question unasked" : "question" });
    const note = known.has(question.number) ? "" : ` (${average})`;
    made.append(make("caption", {}, `${question.text} Asked of ${percent(asked)}.${note}`));
    const body = make("tbody");
    question.answers.forEach((answer, k) => {
      const column = question.first + k;
      const value = fraction(votes, n, column);
      const cells = [make("th", { scope: "row" }, answer), make("td", { class: "number" }, percent(value))];
      cells.push(make("td", {}, barOf(n, column, value)), make("td", { class: "spread" }, spreadOf(n, column)));
      body.append(make("tr", { class: paths[n].includes(column) ? "likely" : null }, ...cells));
    });
    made.append(body);
    return made;
  }

  function spreadOf(n, column) {
    const parts = [];
    if (others) parts.push(`volunteers ${percent(fraction(others, n, column))}`);
    const spread = (name) => (spreads[name] ? spreads[name][n * NUM_ANSWERS + column] : -1);
    if (spread("low68") >= 0) parts.push(`${Math.round((100 * spread("low68")) / spreadScale)}–${percent(spread("high68") / spreadScale)}`);
    if (spread("transforms") >= 0) parts.push(`±${((100 * spread("transforms")) / spreadScale).toFixed(1)}`);
    if (spread("models") >= 0) parts.push(`models ±${((100 * spread("models")) / spreadScale).toFixed(1)}`);
    return parts.join(", ");
  }

  const SVG = "http://www.w3.org/2000/svg";
  function svgElement(name, attributes) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }

  function barOf(n, column, value) {
    const svg = svgElement("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" });
    svg.append(svgElement("rect", { class: "ground", width: 100, height: 10 }));
    if (!Number.isNaN(value)) svg.append(svgElement("rect", { class: "share", width: 100 * value, height: 10 }));
    const low = spreads.low68 ? spreads.low68[n * NUM_ANSWERS + column] : -1;
    if (low >= 0) {
      const [x1, x2] = [low, spreads.high68[n * NUM_ANSWERS + column]].map((end) => (100 * end) / spreadScale);
      svg.append(svgElement("line", { x1, x2, y1: 5, y2: 5 }));
    }
    const other = others ? fraction(others, n, column) : NaN;
    if (!Number.isNaN(other)) {
      svg.append(svgElement("line", { class: "other", x1: 100 * other, x2: 100 * other, y1: -1, y2: 11 }));
    }
    return svg;
  }

  // A map: one tab stop, arrows between its marks, zoom; a click selects the nearest mark.
  const ZOOMS = [1, 2, 4, 8];
  const REACH = 24; // CSS pixels between a click and the centre of a mark
  function mapOf(figure) {
    const svg = figure.querySelector("svg");
    const frame = figure.querySelector(".frame");
    const marks = [...svg.querySelectorAll(".mark")];
    const middle = (mark) => {
      const ellipse = mark.querySelector("ellipse");
      return [Number(ellipse.getAttribute("cx")), Number(ellipse.getAttribute("cy"))];
    };
    const shownMarks = () => marks.filter((mark) => !mark.classList.contains("filtered"));
    const select = (mark) => show(Number(mark.dataset.row));
    for (const mark of marks) {
      mark.setAttribute("role", "button");
      mark.setAttribute("aria-label", mark.querySelector("title").textContent);
    }

    function reset() {
      const [first] = shownMarks();
      for (const mark of marks) mark.setAttribute("tabindex", mark === first ? "0" : "-1");
    }

    function focus(mark) {
      for (const each of marks) each.setAttribute("tabindex", each === mark ? "0" : "-1");
      mark.focus({ preventScroll: true });
      mark.scrollIntoView({ block: "nearest", inline: "nearest" });
    }

    // The nearest mark in a direction (dx, dy); distance across the direction counts double.
    function neighbour(mark, dx, dy) {
      const [x, y] = middle(mark);
      const distance = (other) => {
        const [right, down] = [middle(other)[0] - x, middle(other)[1] - y];
        const along = right * dx + down * dy;
        return along > 0 ? along + 2 * Math.abs(right * dy - down * dx) : Infinity;
      };
      const others = shownMarks().filter((other) => distance(other) < Infinity);
      return others.sort((a, b) => distance(a) - distance(b))[0];
    }

    const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    svg.addEventListener("keydown", (event) => {
      const mark = event.target.closest(".mark");
      if (!mark) return;
      if (event.key === "Enter" || event.key === " ") select(mark);
      else if (STEPS[event.key]) focus(neighbour(mark, ...STEPS[event.key]) ?? mark);
      else return;
      event.preventDefault();
    });
    svg.addEventListener("click", (event) => {
      const box = svg.getBoundingClientRect();
      const scale = box.width / svg.viewBox.baseVal.width;
      const away = (mark) => {
        const [x, y] = middle(mark);
        return Math.hypot(box.left + x * scale - event.clientX, box.top + y * scale - event.clientY);
      };
      const nearest = shownMarks().sort((a, b) => away(a) - away(b))[0];
      if (nearest && (away(nearest) <= REACH || event.target.closest(".mark") === nearest)) {
        focus(nearest);
        select(nearest);
      }
    });

    let zoom = 0;
    const buttons = [["Zoom in", 1], ["Zoom out", -1]].map(([text, by]) => {
      const button = make("button", { type: "button" }, text);
      button.addEventListener("click", () => magnify(zoom + by));
      return button;
    });
    function magnify(level) {
      const [x, y] = [frame.scrollLeft + frame.clientWidth / 2, frame.scrollTop + frame.clientHeight / 2];
      const times = ZOOMS[level] / ZOOMS[zoom];
      zoom = level;
      svg.style.width = `${100 * ZOOMS[zoom]}%`;
      frame.scrollTo(x * times - frame.clientWidth / 2, y * times - frame.clientHeight / 2);
      buttons[0].disabled = zoom === ZOOMS.length - 1;
      buttons[1].disabled = zoom === 0;
    }
    figure.prepend(make("div", { class: "tools" }, ...buttons));
    magnify(0);
    return { reset };
  }
  const maps = [...document.querySelectorAll(".map")].map(mapOf);

  // The ids of the listed galaxies, in their order, as CSV.
  function exportIds() {
    const lines = ["id_str", ...visible.map((n) => `"${names[n].replaceAll('"', '""')}"`)];
    const link = make("a", { download: "selection.csv" });
    link.href = URL.createObjectURL(new Blob([`${lines.join("\n")}\n`], { type: "text/csv" }));
    link.click();
    URL.revokeObjectURL(link.href);
  }

  const option = (value, text) => make("option", { value }, text);

  let labelling = null;

  function begin() {
    byId("choices").hidden = false;
    byId("answer").append(...questions.map((question) => make("optgroup", { label: question.text },
      ...question.answers.map((answer, k) => option(question.first + k, answer)))));
    byId("known-answers").append(...[...new Set(answersOf.flat())].map((value) => make("option", { value })));
    byId("order").append(option("", "file order"), ...fields.map((each) => option(each.key, each.title.toLowerCase())));
    if (flags) {
      const number = (test) => count(indices.filter(test).length);
      const bits = Object.entries(flagWords).filter(([bit]) => flags.some((each) => each & Number(bit)));
      byId("show").append(
        option("trusted", `trusted (${number(SHOWS.trusted)})`),
        option("untrusted", `not trusted (${number(SHOWS.untrusted)})`),
        option("", `all (${count(names.length)})`),
        option("none", `without warnings (${number(SHOWS.none)})`),
        ...bits.map(([bit, text]) => option(bit, `${text.split(":")[0]} (${number((n) => flags[n] & Number(bit))})`)));
      byId("show").addEventListener("change", (event) => change({ show: event.target.value }));
    }
    byId("show-all").addEventListener("click", () => {
      byId("show").value = "";
      change({ show: "" });
    });
    const head = document.querySelector("#rows thead tr");
    head.append(make("th", { role: "columnheader", scope: "col" }, make("span", { class: "unseen" }, "Picture")));
    for (const field of fields.filter((each) => !each.hidden)) {
      const button = make("button", { type: "button", title: field.help || null }, field.title);
      button.addEventListener("click", () => change({
        order: field.key,
        descending: chosen.order === field.key ? !chosen.descending : Boolean(field.numeric),
      }));
      const look = field.numeric ? "number" : null;
      head.append(make("th", { role: "columnheader", scope: "col", "data-key": field.key, class: look }, button));
    }
    const listen = (id, type, values) => byId(id).addEventListener(type, (event) => change(values(event.target)));
    listen("find", "input", (input) => ({ find: input.value.trim().toLowerCase() }));
    listen("answer", "change", (input) => ({ answer: Number(input.value), order: "answer", descending: true }));
    listen("least", "input", (input) => ({ least: Number(input.value) }));
    listen("order", "change", (input) => ({ order: input.value }));
    byId("descending").addEventListener("click", () => change({ descending: !chosen.descending }));
    byId("export").addEventListener("click", exportIds);
    byId("choices").addEventListener("submit", (event) => event.preventDefault());
    byId("choices").addEventListener("reset", () =>
      setTimeout(() => change({ find: "", least: 0, show: FIRST_SHOW, answer: 0, ...firstOrder() })));
    for (const [id, step] of [["previous-page", -1], ["next-page", 1]]) {
      byId(id).addEventListener("click", () => {
        chosen.page += step;
        list();
        byId("galaxies").scrollIntoView();
      });
    }
    const dialog = byId("galaxy");
    byId("close").addEventListener("click", () => dialog.close());
    byId("previous").addEventListener("click", () => turn(-1));
    byId("next").addEventListener("click", () => turn(1));
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("close", () => history.replaceState(null, "", "#galaxies"));
    dialog.addEventListener("keydown", (event) => {
      if (event.target.closest(".scroll")) return;
      if (event.key === "ArrowLeft") turn(-1);
      if (event.key === "ArrowRight") turn(1);
    });
    for (const button of document.querySelectorAll(".gallery button")) {
      button.addEventListener("click", () => show(Number(button.dataset.row)));
    }
    Object.assign(chosen, firstOrder());
    refresh();
    if (data.galaxies.rare) {
      const openGalaxy = () => (dialog.open ? open : null);
      labelling = labelsOf({ rare: data.galaxies.rare, names, make, picture, isTrusted, show, openGalaxy });
      byId("galaxy-like").hidden = false;
      byId("galaxy-like").addEventListener("click", () => {
        dialog.close();
        labelling.moreLike(open);
      });
    }
    addEventListener("hashchange", follow);
    follow();
  }

  function firstOrder() {
    const [title, descending] = data.galaxies.order ?? ["", false];
    return { order: fields.find((each) => each.title === title)?.key ?? "", descending };
  }

  function turn(step) {
    const next = visible[visible.indexOf(open) + step];
    if (next !== undefined) show(next);
  }

  function change(values) {
    Object.assign(chosen, values, { page: 0 });
    byId("least-value").textContent = `${chosen.least}%`;
    refresh();
  }

  begin();
})();
