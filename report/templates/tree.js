// The decision tree of one galaxy, as report/tree_figure.py draws it. report/tree_layout.py defines the layout.
function treeOf(layout) {
  const { questions } = layout;
  const byNumber = new Map(questions.map((question) => [question.number, question]));

  // Middles of stacked boxes with these heights, from the top.
  function stacked(centre, heights) {
    let edge = centre - heights.reduce((sum, height) => sum + height, 0) / 2;
    return heights.map((height) => {
      edge += height;
      return edge - height / 2;
    });
  }

  function asked(votes, question) {
    let total = 0;
    for (let k = 0; k < question.answers.length; k++) total += votes[question.first + k];
    return total;
  }

  // Branches of all answers; `path` has the columns of the most likely path.
  function branches(votes, path) {
    const drawn = [];
    const coming = new Map();
    const likely = new Set(path);
    for (const question of questions) {
      const total = asked(votes, question);
      const widths = question.order.map((answer) => votes[question.first + answer - 1] * layout.full);
      const starts = stacked(question.y, widths);
      const levels = stacked(question.fan, widths.map((width) => Math.max(layout.pitch, width + layout.gap)));
      question.order.forEach((answer, place) => {
        const column = question.first + answer - 1;
        const next = question.leadsTo[answer - 1];
        const width = widths[place];
        const levelTo = next !== null || width >= layout.broad ? layout.levelTo : layout.end;
        const branch = {
          column, question, answer, width, asked: total, fraction: total > 0 ? votes[column] / total : NaN,
          likely: likely.has(column), ends: next === null,
          points: [
            [question.x + layout.bar, starts[place]],
            [question.x + layout.levelFrom, levels[place]],
            [question.x + levelTo, levels[place]],
          ],
        };
        drawn.push(branch);
        if (next !== null) coming.set(next, [...(coming.get(next) ?? []), branch]);
      });
    }
    for (const [number, into] of coming) {
      const { x, y } = byNumber.get(number);
      into.sort((a, b) => a.question.fan - b.question.fan || a.points[1][1] - b.points[1][1]);
      const ends = stacked(y, into.map((branch) => branch.width));
      into.forEach((branch, place) => branch.points.push([x, ends[place]]));
    }
    return drawn.sort((a, b) => a.likely - b.likely);
  }

  function element(name, attributes, text) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function ribbon(points, width) {
    const side = (along, shift) =>
      along.slice(1).map(([x, y], place) => {
        const [x0, y0] = along[place];
        const middle = (x0 + x) / 2;
        return `C${middle} ${y0 + shift} ${middle} ${y + shift} ${x} ${y + shift}`;
      }).join("");
    const [start, end] = [points[0], points[points.length - 1]];
    const half = width / 2;
    return `M${start[0]} ${start[1] - half}${side(points, -half)}L${end[0]} ${end[1] + half}`
      + `${side([...points].reverse(), half)}Z`;
  }

  function name(branch) {
    const word = branch.question.words[branch.answer - 1];
    const written = branch.asked >= layout.asked && branch.fraction >= layout.least;
    const fraction = written ? `${Math.round(100 * branch.fraction)}%` : "";
    const on = branch.width >= layout.broad;
    const kind = [branch.likely ? "likely" : "", on ? "on" : "", branch.asked < layout.asked ? "unasked" : ""];
    const look = kind.filter(Boolean).join(" ");
    const [[left, y], [right]] = [branch.points[1], branch.points[2]];
    const middle = (left + right) / 2;
    if (fraction && branch.width >= layout.twoLines) {
      return [
        element("text", { class: `${look} large`, x: middle, y: y - 4 }, word),
        element("text", { class: `${look} fraction`, x: middle, y: y + 18 }, fraction),
      ];
    }
    const text = `${word}  ${fraction}`.trim();
    if (branch.ends && !on) return [element("text", { class: `${look} end`, x: right + 8, y: y + 6 }, text)];
    const label = element("text", { class: look, x: middle, y: y + 6 }, text);
    if (on) return [label];
    // A plate under the name. Its width is estimated: text has no width before it is drawn.
    const width = text.length * (branch.likely ? 10.2 : 8.9) + 8;
    return [element("rect", { class: "plate", x: middle - width / 2, y: y - 12, width, height: 24, rx: 6 }), label];
  }

  // Return an <svg> of the tree of votes, beside a picture (its address) if there is one.
  function draw(votes, path, picture, label) {
    const [left, top, side] = layout.picture;
    const first = byNumber.get(1);
    const begin = picture ? 0 : first.x - 80;
    const viewBox = `${begin} 0 ${layout.width - begin} ${layout.height}`;
    const svg = element("svg", { viewBox, class: picture ? "tree" : "tree bare", role: "img" });
    svg.setAttribute("aria-label", label);
    const drawn = branches(votes, path);
    const trunk = [[picture ? left + side : first.x - 70, top + side / 2], [first.x, first.y]];
    svg.append(element("path", { class: "likely", d: ribbon(trunk, layout.full) }));
    for (const branch of drawn) {
      const look = branch.likely ? "likely" : "";
      svg.append(element("path", { class: look, d: ribbon(branch.points, Math.max(branch.width, layout.hair)) }));
    }
    const onPath = new Set(drawn.filter((branch) => branch.likely).map((branch) => branch.question.number));
    for (const question of questions) {
      const height = Math.max(10, asked(votes, question) * layout.full);
      const look = onPath.has(question.number) ? "bar on-path" : "bar";
      const place = { x: question.x, y: question.y - height / 2, width: layout.bar, height, rx: 3, class: look };
      const y = question.y + (question.below ? height / 2 + 21 : -height / 2 - 10);
      svg.append(element("rect", place));
      svg.append(element("text", { class: "title", x: question.x + layout.bar / 2, y }, question.title));
    }
    for (const branch of drawn) svg.append(...name(branch));
    if (picture) {
      const image = element("image", { x: left, y: top, width: side, height: side, href: picture });
      image.setAttribute("preserveAspectRatio", "xMidYMid slice");
      svg.append(image);
    }
    return svg;
  }

  return { draw, branches, asked, questions };
}
