// The two charts. Both take rows of the gateway's, and know nothing of where they come from.

const library = window.LightweightCharts;
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const seconds = (text) => Math.floor(Date.parse(text) / 1000);
const line = (name, width = 1) => ({
  color: colour(name), lineWidth: width, priceLineVisible: false, lastValueVisible: false, crosshairMarkerVisible: false,
});

function look() {
  return {
    autoSize: true,
    layout: {
      background: { color: colour("ground") }, textColor: colour("text"), fontFamily: "system-ui, sans-serif",
      panes: { separatorColor: colour("line") },
    },
    grid: { vertLines: { color: colour("line"), style: 4 }, horzLines: { color: colour("line"), style: 4 } },
    timeScale: { timeVisible: true, secondsVisible: false, borderColor: colour("line") },
    rightPriceScale: { borderColor: colour("line") },
    localization: { locale: "en" },
  };
}

/** Digits enough for the smallest price. */
function format(prices) {
  const least = Math.min(...prices.filter((price) => price > 0).concat(1e6));
  const precision = Math.min(12, Math.max(2, 4 - Math.floor(Math.log10(least))));
  return { type: "price", precision, minMove: 10 ** -precision };
}

/** Arrows, plus, minus, Home and End move a chart that has the focus. */
function walkable(box, chart) {
  box.addEventListener("keydown", (event) => {
    const scale = chart.timeScale(), range = scale.getVisibleLogicalRange();
    if (!range || event.ctrlKey || event.metaKey || event.altKey) return;
    const width = range.to - range.from;
    const moves = {
      ArrowLeft: () => [range.from - width / 10, range.to - width / 10],
      ArrowRight: () => [range.from + width / 10, range.to + width / 10],
      "+": () => [range.from + width / 5, range.to], "-": () => [range.from - width / 4, range.to],
    };
    if (event.key === "Home") scale.fitContent();
    else if (event.key === "End") scale.scrollToRealTime();
    else if (moves[event.key]) {
      const [from, to] = moves[event.key]();
      scale.setVisibleLogicalRange({ from, to });
    } else return;
    event.preventDefault();
  });
}

const EMAS = { ema_21: "first", ema_50: "second", ema_200: "third" };
const BANDS = ["bollinger_upper_20_2", "bollinger_lower_20_2"];
export const SHOWN = { ema: Object.keys(EMAS), bands: BANDS, rsi: ["rsi_14"] };

/** Candles at the moment they open, volume and RSI below; `older(first)` is called when the left end comes into sight. */
export class PriceChart {
  constructor(box, older) {
    this.box = box;
    this.chart = library.createChart(box, look());
    walkable(box, this.chart);
    this.candles = this.chart.addSeries(library.CandlestickSeries, {});
    this.markers = library.createSeriesMarkers(this.candles, []);
    this.volume = this.chart.addSeries(library.HistogramSeries, { priceFormat: { type: "volume" }, priceLineVisible: false }, 1);
    this.lines = {};
    for (const name of [...Object.keys(EMAS), ...BANDS]) this.lines[name] = this.chart.addSeries(library.LineSeries, {});
    this.lines.rsi_14 = this.chart.addSeries(library.LineSeries, {}, 2);
    this.levels = [30, 70].map((price) => this.lines.rsi_14.createPriceLine({ price, lineStyle: 2, lineWidth: 1, axisLabelVisible: false }));
    this.bars = [];
    this.paint();
    this.chart.timeScale().subscribeVisibleLogicalRangeChange((range) => {
      if (range && range.from < 20 && this.bars.length) older(this.bars[0]);
    });
  }

  /** Take on the colours of the theme. */
  paint() {
    this.chart.applyOptions(look());
    const [up, down] = [colour("up"), colour("down")];
    // Hollow where it rose: told without colour.
    this.candles.applyOptions({
      upColor: "transparent", downColor: down, borderUpColor: up, borderDownColor: down, wickUpColor: up, wickDownColor: down,
    });
    for (const [name, tone] of Object.entries(EMAS)) this.lines[name].applyOptions(line(tone));
    for (const name of BANDS) this.lines[name].applyOptions({ ...line("band"), lineStyle: 2 });
    this.lines.rsi_14.applyOptions({ ...line("first"), lastValueVisible: true });
    for (const level of this.levels) level.applyOptions({ color: colour("band") });
    this.chart.panes().forEach((pane, at) => pane.setStretchFactor([6, 1.2, 1.5][at]));
    if (this.bars.length) this.draw();
    if (this.trades) this.mark(this.trades);
  }

  /** All bars anew, with the features of those that have them (by their close). */
  set(bars, features) {
    this.bars = bars;
    this.features = features;
    this.candles.applyOptions({ priceFormat: format(bars.map((bar) => bar.low)) });
    this.draw();
  }

  draw() {
    const tinted = { up: `${colour("up")}80`, down: `${colour("down")}80` };
    const at = this.bars.map((bar) => seconds(bar.opened_at));
    this.candles.setData(this.bars.map((bar, place) => ({
      time: at[place], open: bar.open, high: bar.high, low: bar.low, close: bar.close,
    })));
    this.volume.setData(this.bars.map((bar, place) => bar.volume === null ? { time: at[place] } : {
      time: at[place], value: bar.volume, color: bar.close >= bar.open ? tinted.up : tinted.down,
    }));
    for (const [name, series] of Object.entries(this.lines)) {
      series.setData(this.bars.map((bar, place) => {
        const value = this.features.get(bar.closed_at)?.[name];
        return value === null || value === undefined ? { time: at[place] } : { time: at[place], value };
      }));
    }
  }

  show(name, isShown) {
    for (const one of SHOWN[name] ?? []) this.lines[one].applyOptions({ visible: isShown });
    if (name === "trades") this.mark(isShown ? this.trades ?? [] : [], isShown);
  }

  /** Arrows where a unit entered, circles where it left: each at the bar in which that was. */
  mark(trades, isKept = true) {
    if (isKept) this.trades = trades;
    const opened = this.bars.map((bar) => seconds(bar.opened_at));
    const holding = (text) => {
      const moment = seconds(text);
      let low = 0, high = opened.length;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (opened[middle] <= moment) low = middle + 1;
        else high = middle;
      }
      return low ? opened[low - 1] : null; // before the first bar that is loaded
    };
    const marks = [];
    for (const trade of trades) {
      const isLong = trade.direction === "long";
      const [entry, exit] = [holding(trade.entry_at), trade.exit_at && holding(trade.exit_at)];
      if (entry) marks.push({
        time: entry, position: isLong ? "belowBar" : "aboveBar", shape: isLong ? "arrowUp" : "arrowDown",
        color: colour(isLong ? "up" : "down"),
      });
      if (exit) marks.push({
        time: exit, position: isLong ? "aboveBar" : "belowBar", shape: "circle", color: colour("quiet"), size: 0.7,
      });
    }
    this.markers.setMarkers(marks.sort((one, other) => one.time - other.time));
  }

  /** The newest so many bars. */
  newest(count) {
    this.chart.timeScale().setVisibleLogicalRange({ from: this.bars.length - count, to: this.bars.length + 4 });
  }

  tell(text) {
    this.box.setAttribute("aria-label", text);
  }
}

/** What the account and buying and holding were worth, and below how far each was under its peak. */
export class AccountChart {
  constructor(box) {
    this.box = box;
    this.chart = library.createChart(box, look());
    walkable(box, this.chart);
    this.series = {
      equity: this.chart.addSeries(library.LineSeries, {}),
      hold_equity: this.chart.addSeries(library.LineSeries, {}),
      drawdown: this.chart.addSeries(library.AreaSeries, {}, 1),
      hold_drawdown: this.chart.addSeries(library.LineSeries, {}, 1),
    };
    this.paint();
  }

  paint() {
    this.chart.applyOptions(look());
    const percent = { type: "custom", minMove: 0.0001, formatter: (value) => `${(100 * value).toFixed(1)} %` };
    this.series.equity.applyOptions({ ...line("up", 2), title: "signal", lastValueVisible: true });
    this.series.hold_equity.applyOptions({ ...line("quiet"), lineStyle: 2, title: "hold", lastValueVisible: true });
    this.series.drawdown.applyOptions({
      ...line("down"), lineColor: colour("down"), topColor: `${colour("down")}10`, bottomColor: `${colour("down")}60`, invertFilledArea: true, priceFormat: percent,
    });
    this.series.hold_drawdown.applyOptions({ ...line("quiet"), lineStyle: 2, priceFormat: percent });
    this.chart.panes().forEach((pane, at) => pane.setStretchFactor([2, 1][at]));
  }

  set(points) {
    for (const [name, series] of Object.entries(this.series)) {
      series.setData(points.map((point) => {
        const time = seconds(point.closed_at);
        return point[name] === null ? { time } : { time, value: point[name] };
      }));
    }
    this.chart.timeScale().fitContent();
  }

  tell(text) {
    this.box.setAttribute("aria-label", text);
  }
}
