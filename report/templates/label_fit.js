// The fit of labels in a page: logistic regression with balanced answers, as catalogue/label_fit.py.
"use strict";
function labelFitOf(features, size, scale) {
  const STEPS = 50;
  const SHORTEST = 1e-7;
  const RIDGE = 1;
  const count = features.length / size;

  // Solve a x = b for a symmetric, positive matrix (m x m, flat; it is overwritten) by Cholesky's decomposition.
  function solve(a, b) {
    const m = b.length;
    const x = Float64Array.from(b);
    for (let i = 0; i < m; i++) {
      for (let j = 0; j <= i; j++) {
        let sum = a[i * m + j];
        for (let k = 0; k < j; k++) sum -= a[i * m + k] * a[j * m + k];
        a[i * m + j] = i === j ? Math.sqrt(Math.max(sum, 1e-12)) : sum / a[j * m + j];
      }
    }
    for (let i = 0; i < m; i++) {
      for (let k = 0; k < i; k++) x[i] -= a[i * m + k] * x[k];
      x[i] /= a[i * m + i];
    }
    for (let i = m - 1; i >= 0; i--) {
      for (let k = i + 1; k < m; k++) x[i] -= a[k * m + i] * x[k];
      x[i] /= a[i * m + i];
    }
    return x;
  }

  // Weights and bias (size + 1) that separate the rows `wanted` from the rows `others`.
  function fit(wanted, others) {
    const rows = [...wanted, ...others];
    const m = size + 1;
    const inputs = rows.map((row) => {
      const values = new Float64Array(m).fill(1);
      for (let k = 0; k < size; k++) values[k] = features[row * size + k] / scale;
      return values;
    });
    const weight = rows.map((_, n) => (0.5 * rows.length) / (n < wanted.length ? wanted.length : others.length));
    const penalty = (k) => (k === size ? 1e-3 * RIDGE : RIDGE);
    const logits = (solution) => inputs.map((values) => {
      let sum = 0;
      for (let k = 0; k < m; k++) sum += values[k] * solution[k];
      return sum;
    });
    const loss = (solution) => {
      let sum = 0;
      logits(solution).forEach((logit, n) => {
        const softplus = Math.max(logit, 0) + Math.log1p(Math.exp(-Math.abs(logit)));
        sum += weight[n] * (softplus - (n < wanted.length ? logit : 0));
      });
      return solution.reduce((total, value, k) => total + (penalty(k) * value * value) / 2, sum);
    };
    let solution = new Float64Array(m);
    for (let step = 0; step < STEPS; step++) {
      const gradient = solution.map((value, k) => penalty(k) * value);
      const curvature = new Float64Array(m * m);
      for (let k = 0; k < m; k++) curvature[k * m + k] = penalty(k);
      logits(solution).forEach((logit, n) => {
        const chance = 1 / (1 + Math.exp(-logit));
        const residual = weight[n] * (chance - (n < wanted.length ? 1 : 0));
        const curve = weight[n] * chance * (1 - chance);
        const values = inputs[n];
        for (let i = 0; i < m; i++) {
          gradient[i] += residual * values[i];
          const scaled = curve * values[i];
          for (let j = 0; j <= i; j++) curvature[i * m + j] += scaled * values[j];
        }
      });
      let change = solve(curvature, gradient);
      const before = loss(solution);
      const moved = () => solution.map((value, k) => value - change[k]);
      const longest = () => change.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      while (loss(moved()) > before && longest() > SHORTEST) change = change.map((value) => value / 2);
      solution = moved();
      if (longest() <= SHORTEST) break;
    }
    return solution;
  }

  // Scores of all rows: larger is likelier.
  function scores(solution) {
    const result = new Float64Array(count);
    for (let row = 0; row < count; row++) {
      let sum = 0;
      for (let k = 0; k < size; k++) sum += features[row * size + k] * solution[k];
      result[row] = sum / scale + solution[size];
    }
    return result;
  }

  // Minus the distance of all rows to the nearest of some rows.
  function nearness(examples) {
    const result = new Float64Array(count).fill(-Infinity);
    for (const example of examples) {
      for (let row = 0; row < count; row++) {
        let sum = 0;
        for (let k = 0; k < size; k++) {
          const difference = features[row * size + k] - features[example * size + k];
          sum += difference * difference;
        }
        result[row] = Math.max(result[row], -Math.sqrt(sum) / scale);
      }
    }
    return result;
  }

  return { fit, scores, nearness };
}
