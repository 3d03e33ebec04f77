"use strict";
// Stacked bars over time, drawn by uPlot: <div class="chart" id="x"> is filled from <data data-chart="x" data-values …>.
(() => {
  const LEGEND = 24;
  const charts = new Map();
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  // Each series lies upon those before it, so the sums are drawn, the highest first.
  function stacked({ times, series }) {
    const sums = [];
    for (const [n, values] of series.entries()) {
      sums.push(values.map((value, at) => (value === null ? null : value + (n ? sums[n - 1][at] : 0))));
    }
    return [times, ...sums.reverse()];
  }

  function draw(source) {
    const box = document.getElementById(source.dataset.chart);
    if (!box) return;
    const values = JSON.parse(source.dataset.values);
    const known = charts.get(box.id);
    if (known && known.box === box) {
      if (known.text === source.dataset.values) return;
      known.text = source.dataset.values;
      known.series = values.series;
      known.plot.setData(stacked(values));
      return;
    }
    known?.plot.destroy();
    box.replaceChildren();
    const chart = { box, text: source.dataset.values, series: values.series };
    const names = JSON.parse(source.dataset.names);
    const tones = JSON.parse(source.dataset.tones);
    const last = names.length - 1;
    const font = `12px ${colour("sans")}`;
    const zone = source.dataset.zone;
    const moment = (options) => new Intl.DateTimeFormat(document.body.dataset.language, { timeZone: zone, hourCycle: "h23", ...options });
    const onAxis = moment({ hour: "2-digit", minute: "2-digit" });
    const inLegend = moment({ month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit" });
    const plot = new uPlot({
      width: box.clientWidth,
      height: box.clientHeight - LEGEND,
      cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
      legend: { markers: { width: 0 } },
      scales: { x: { time: true, range: (_, min, max) => [min - 1800, max + 1800] }, y: { range: (_, min, max) => [0, Math.max(max * 1.06, 4)] } },
      axes: [
        { stroke: () => colour("muted"), font, grid: { show: false }, ticks: { show: false }, size: 26, space: 74, values: (_, at) => at.map((each) => onAxis.format(each * 1000)) },
        { stroke: () => colour("muted"), font, grid: { stroke: () => colour("line"), width: 1 }, ticks: { show: false }, size: 52, space: 36, values: (_, at) => at.map((each) => (Number.isInteger(each) ? each.toLocaleString() : "")) },
      ],
      series: [
        { label: source.dataset.time, value: (_, at) => (at === null ? "–" : inLegend.format(at * 1000)) },
        ...names.map((_, n) => ({
          label: names[last - n],
          class: tones[last - n],
          fill: () => colour(`chart-${tones[last - n]}`),
          stroke: () => colour(`chart-${tones[last - n]}`),
          width: 0,
          points: { show: false },
          paths: uPlot.paths.bars({ size: [0.72, 26], align: 1 }),
          value: (_, __, ___, at) => (at === null ? "–" : chart.series[last - n][at]?.toLocaleString() ?? "–"),
        })),
      ],
    }, stacked(values), box);
    chart.plot = plot;
    charts.set(box.id, chart);
    function fit() {
      if (!box.clientWidth) return; // htmx keeps it aside for a moment
      const legend = box.querySelector(".u-legend");
      // Twice: the legend breaks into lines by the width that the first call sets.
      for (const _ of "12") plot.setSize({ width: box.clientWidth, height: box.clientHeight - legend.offsetHeight });
    }
    fit();
    new ResizeObserver(fit).observe(box);
  }

  const drawAll = () => document.querySelectorAll("[data-chart]").forEach(draw);
  document.addEventListener("htmx:afterSettle", drawAll);
  document.addEventListener("console:theme", () => charts.forEach(({ plot }) => plot.redraw(false)));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach(({ plot }) => plot.redraw(false)));
  drawAll();
})();
