// The page: what is chosen stands in its address; everything shown follows from that and from what becomes new.

import { Problem, ask, key, listen } from "./api.js";
import { AccountChart, PriceChart, SHOWN } from "./charts.js";
import {
  age, amount, direction, element, facts, fixed, heat, moment, nothing, number, percent, table,
} from "./forms.js";

const PAGE = 1000, MOST_BARS = 20000, MOST_OF_A_MAP = 30, MOST_LEADERS = 200;
const TOPICS = ["candles", "features", "signals", "alerts"];
const one = (selector) => document.querySelector(selector);
const world = { instruments: [], timeframes: [], bars: [], features: new Map(), leaders: [], isOldest: false };
const chosen = {};

// --- what is chosen ----------------------------------------------------------------------------------------------------

const named = (instrument) => ({ symbol: instrument.symbol, exchange: instrument.exchange, market: instrument.market_type });
const isAmbiguous = (symbol) => world.instruments.filter((other) => other.symbol === symbol).length > 1;
const label = (instrument) => isAmbiguous(instrument.symbol)
  ? `${instrument.symbol} · ${instrument.exchange} ${instrument.market_type}` : instrument.symbol;
const isChosen = (row) => row.symbol === chosen.symbol && row.exchange === chosen.exchange && row.market_type === chosen.market;

function href(changes) {
  const query = new URLSearchParams();
  const wanted = { ...chosen, ...changes };
  for (const name of ["symbol", "timeframe", "signal"]) if (wanted[name]) query.set(name, wanted[name]);
  if (wanted.symbol && isAmbiguous(wanted.symbol)) {
    query.set("exchange", wanted.exchange);
    query.set("market", wanted.market);
  }
  return `?${query}`;
}

/** What the address asks for, or what there is; names an unknown symbol rather than showing another. */
function readAddress() {
  const query = new URLSearchParams(location.search);
  const wanted = query.get("symbol")?.toUpperCase();
  const fitting = world.instruments.filter((instrument) =>
    (!wanted || instrument.symbol === wanted || instrument.former_symbols.includes(wanted)) &&
    [null, instrument.exchange].includes(query.get("exchange")) && [null, instrument.market_type].includes(query.get("market")));
  if (!fitting.length) throw new Problem(404, { detail: `there is no ${wanted ?? "instrument"}`, hint: world.instruments.length
    ? "the watch list has what there is" : "titan load, then titan refresh" });
  Object.assign(chosen, named(fitting[0]));
  const base = world.timeframes.findIndex((row) => row.timeframe === fitting[0].base_timeframe);
  const possible = world.timeframes.slice(Math.max(0, base));
  const timeframe = query.get("timeframe");
  if (timeframe && !possible.some((row) => row.timeframe === timeframe)) throw new Problem(404, {
    detail: `there are no ${timeframe} bars of ${chosen.symbol}`, hint: `there are ${possible.map((row) => row.timeframe).join(", ")}`,
  });
  chosen.timeframe = timeframe ?? (possible.find((row) => row.timeframe === "1D") ?? possible[0]).timeframe;
  chosen.signal = query.get("signal") ?? "";
  chosen.hasFeatures = possible.find((row) => row.timeframe === chosen.timeframe).compute_features;
  world.possible = possible;
  const options = (rows) => rows.map((row) => element("option", { selected: row.timeframe === chosen.timeframe }, row.timeframe));
  one("#timeframe").replaceChildren(
    element("optgroup", { label: "with features" }, ...options(possible.filter((row) => row.compute_features))),
    element("optgroup", { label: "prices alone" }, ...options(possible.filter((row) => !row.compute_features))),
  );
  one("#symbol").value = label(fitting[0]);
  document.title = `${chosen.symbol} ${chosen.timeframe} · Titan`;
}

function choose(changes) {
  history.pushState(null, "", href(changes));
  show();
}

// --- telling -----------------------------------------------------------------------------------------------------------

const faults = new Map(); // by part of the page: a part that is well again takes its own back

function told(part, error) {
  if (error) faults.set(part, error);
  else faults.delete(part);
  const problem = one("#problem");
  const first = [...faults.values()].sort((a, b) => a.status - b.status)[0];
  problem.hidden = !first;
  if (!first) return;
  const since = first.told?.since ? ` (since ${first.told.since.slice(11, 19)} UTC)` : "";
  problem.textContent = `${first.message}${since}${first.hint ? `: ${first.hint}` : ""}`;
}

const runs = {};

/** Bring a part of the page up to date; the last call counts, and what is away is asked for again. */
async function part(name, work) {
  const run = (runs[name] = Symbol(name));
  const isLast = () => runs[name] === run;
  try {
    await work(isLast);
    if (isLast()) told(name, null);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (!isLast()) return;
    if (error.status === 401) askForKey(error);
    told(name, error);
    if ([0, 429, 503].includes(error.status)) setTimeout(() => isLast() && part(name, work), 3000);
  }
}

function askForKey(error) {
  const dialog = one("#key");
  one("#key-why").textContent = error.message;
  if (!dialog.open) dialog.showModal();
}

/** Instead of a part that the key may not see. */
function refused(section, error) {
  if (!(error instanceof Problem) || error.status !== 403) throw error;
  one(`#${section} .scroll`).replaceChildren(nothing(`${error.message}: ${error.hint}`));
}

// --- the parts ---------------------------------------------------------------------------------------------------------

async function watchList(isLast) {
  const timeframe = chosen.hasFeatures ? chosen.timeframe : "1D";
  const { data } = await ask("screener", { timeframe });
  if (!isLast()) return;
  world.watched = data;
  const before = new Map([...document.querySelectorAll("#watch tbody tr")].map((row) => [row.dataset.name, row.dataset.price]));
  const made = table(`Watch list, ${timeframe}`, [
    { head: "symbol", of: (row) => element("a", { href: href(named({ ...row })) }, label(row)) },
    { head: "last", of: (row) => row.last_price, form: number },
    { head: "change", of: (row) => row.change_1, form: percent, tone: (row) => row.change_1, title: `by one ${timeframe} bar` },
    { head: "30 bars", of: (row) => row.change_30, form: percent, tone: (row) => row.change_30 },
    { head: "RSI", of: (row) => row.rsi_14, form: fixed(0) },
  ], data, isChosen);
  data.forEach((row, at) => {
    const line = made.tBodies[0].rows[at];
    Object.assign(line.dataset, { name: label(row), price: row.last_price });
    if (before.has(label(row)) && before.get(label(row)) !== String(row.last_price)) line.classList.add("fresh");
  });
  one("#watch .scroll").replaceChildren(data.length ? made : nothing("No bars with features yet."));
}

const ofSeries = () => ({ symbol: chosen.symbol, exchange: chosen.exchange, market: chosen.market, timeframe: chosen.timeframe });

async function features(range) {
  if (!chosen.hasFeatures) return [];
  const known = world.known ?? (world.known = new Set((await ask("features/list")).data.map((row) => row.feature)));
  const wanted = Object.values(SHOWN).flat().filter((name) => known.has(name)); // one may be disabled
  return wanted.length ? (await ask("features", { ...ofSeries(), feature: wanted, limit: PAGE, ...range })).data : [];
}

const allOf = (rows) => rows.map((row) => [row.closed_at, row]);

async function bars(isLast) {
  const [{ data }, values] = await Promise.all([ask("ohlcv", { ...ofSeries(), limit: PAGE }), features({})]);
  if (!isLast()) return;
  world.features = new Map(allOf(values));
  world.isOldest = data.length < PAGE;
  world.price.set((world.bars = data), world.features);
  const series = JSON.stringify(ofSeries());
  if (world.drawn !== series) world.price.newest(Math.min(180, innerWidth / 5)); // who looks at older ones stays there
  world.drawn = series;
  drawn();
}

/** Bars that became new since the last one, which may be another now. */
async function newBars(isLast) {
  const after = world.bars.at(-2)?.closed_at;
  if (!after) return bars(isLast);
  const [{ data, next }, values] = await Promise.all([
    ask("ohlcv", { ...ofSeries(), from: after, limit: PAGE }), features({ from: after }),
  ]);
  if (!isLast()) return;
  if (next || !data.length) return bars(isLast);
  for (const row of values) world.features.set(row.closed_at, row);
  world.bars = [...world.bars.filter((bar) => bar.closed_at <= after), ...data];
  world.price.set(world.bars, world.features);
  drawn();
}

/** A page of bars before the first that is loaded. */
async function olderBars(first) {
  if (world.isOldest || world.isAsking || world.bars.length >= MOST_BARS) return;
  world.isAsking = true;
  const series = JSON.stringify(ofSeries());
  try {
    const range = { to: first.opened_at };
    const [{ data }, values] = await Promise.all([ask("ohlcv", { ...ofSeries(), ...range, limit: PAGE }), features(range)]);
    if (series !== JSON.stringify(ofSeries()) || world.bars[0] !== first) return;
    world.isOldest = data.length < PAGE;
    for (const row of values) world.features.set(row.closed_at, row);
    world.price.set((world.bars = [...data, ...world.bars]), world.features);
  } finally {
    world.isAsking = false;
  }
}

function drawn() {
  const last = world.bars.at(-1);
  one("#price-title").textContent = `${chosen.symbol} · ${chosen.timeframe} · ${chosen.exchange} ${chosen.market}`;
  world.price.tell(last
    ? `Candles of ${chosen.symbol}, ${chosen.timeframe}, until ${moment(last.closed_at)} UTC: last close ${number(last.close)}`
    : `There are no ${chosen.timeframe} bars of ${chosen.symbol} yet`);
  one("#bars .scroll").replaceChildren(table("The newest bars", [
    { head: "opened", of: (bar) => moment(bar.opened_at) }, { head: "closed", of: (bar) => moment(bar.closed_at) },
    ...["open", "high", "low", "close"].map((head) => ({ head, of: (bar) => bar[head], form: number })),
    { head: "volume", of: (bar) => bar.volume, form: amount },
    { head: "missing", of: (bar) => bar.missing_count, form: number, title: "candles of the bar that there are not" },
  ], world.bars.slice(-50).reverse()));
}

async function dive(isLast) {
  const { data } = chosen.hasFeatures
    ? await ask(`deep-dive/${chosen.symbol.split("/").map(encodeURIComponent).join("/")}`, { timeframe: chosen.timeframe, exchange: chosen.exchange, market: chosen.market })
    : { data: null };
  if (!isLast()) return;
  facts(one("#dive"), data ? [
    ["last", number(data.last_price), undefined, `closed ${moment(data.last_closed_at)} UTC`],
    ["1 bar", percent(data.change_1), data.change_1], ["7 bars", percent(data.change_7), data.change_7],
    ["30 bars", percent(data.change_30), data.change_30],
    ["z of the return", fixed(2)(data.return_zscore), undefined, "against the returns before it"],
    ["RSI 14", fixed(1)(data.rsi_14)], ["MACD histogram", number(data.macd_histogram), data.macd_histogram],
    ["volatility", percent(data.volatility), undefined, "annualised, of the last 30 returns"],
    ["ATR", percent(data.atr_ratio), undefined, "of the price"],
    ["band width", data.is_squeeze ? element("span", {}, percent(data.band_width), " ", element("b", { class: "badge" }, "squeeze"))
      : percent(data.band_width), undefined, `5th percentile of the year: ${percent(data.band_width_p05)}`],
    ["from the year's high", percent(data.distance_from_high_1y), undefined, number(data.high_1y)],
    ["closed", `${moment(data.last_closed_at)} UTC`],
  ] : [["features", "none of this timeframe"]]);
}

async function leaders(isLast) {
  let data;
  try {
    ({ data } = await ask("leaderboard", { limit: MOST_LEADERS }));
    const all = (await ask("leaderboard", { scope: "portfolio", limit: MOST_LEADERS })).data;
    const own = (await ask("leaderboard", { ...ofSeries(), timeframe: null, limit: MOST_LEADERS })).data;
    if (!isLast()) return;
    world.leaders = own;
    const names = [...new Set(own.map((row) => `${row.signal} ${row.timeframe}`))].sort();
    one("#signal").replaceChildren(element("option", { value: "" }, "none"), ...names.map((name) =>
      element("option", { value: name, selected: name === chosen.signal }, name)));
    data = [...all, ...data];
  } catch (error) {
    return refused("leaders", error);
  }
  one("#leaders .scroll").replaceChildren(data.length ? table("Leaderboard", [
    { head: "signal", of: (row) => row.symbol
      ? element("a", { href: href({ ...named(row), timeframe: row.timeframe, signal: `${row.signal} ${row.timeframe}` }) }, row.signal)
      : row.signal === "*" ? "all signals" : row.signal },
    { head: "in", of: (row) => row.symbol ? label(row) : "all, in equal parts", text: true },
    { head: "bars", of: (row) => row.timeframe, text: true },
    { head: "return", of: (row) => row.total_return, form: percent, tone: (row) => row.total_return },
    { head: "held", of: (row) => row.hold_total_return, form: percent, title: "by buying and holding" },
    { head: "Sharpe", of: (row) => row.sharpe, form: fixed(2) },
    { head: "P(Sharpe > 0)", of: (row) => row.probabilistic_sharpe, form: percent, title: "one trial by itself; the more were tried, the less it says" },
    { head: "drawdown", of: (row) => row.maximum_drawdown, form: percent },
    { head: "trades", of: (row) => row.trades, form: number },
    { head: "won", of: (row) => row.win_rate, form: percent },
    { head: "exposed", of: (row) => row.exposure, form: percent },
  ], data, (row) => isChosen(row) && `${row.signal} ${row.timeframe}` === chosen.signal)
    : nothing("No signal has traded yet."));
}

async function account(isLast) {
  const section = one("#account");
  section.hidden = !chosen.signal;
  if (!chosen.signal) return world.price.mark([]);
  const at = chosen.signal.lastIndexOf(" ");
  const wanted = { ...ofSeries(), signal: chosen.signal.slice(0, at), timeframe: chosen.signal.slice(at + 1) };
  const [points, trades] = await Promise.all([ask("equity", wanted), ask("trades", { ...wanted, limit: PAGE })]);
  if (!isLast()) return;
  world.account ??= new AccountChart(one("#account-chart"));
  world.account.set(points.data);
  if (one("[name=trades]").checked) world.price.mark(trades.data);
  else world.price.trades = trades.data;
  const last = points.data.at(-1);
  const row = world.leaders.find((leader) => `${leader.signal} ${leader.timeframe}` === chosen.signal);
  one("#account-title").textContent = `${wanted.signal} over ${wanted.timeframe} bars of ${chosen.symbol}, with costs`;
  world.account.tell(`1 became ${number(last.equity)} by the signal and ${number(last.hold_equity)} by holding, `
    + `until ${moment(last.closed_at)} UTC`);
  facts(one("#result"), [
    ["1 became", number(last.equity), last.equity - 1], ["before costs", number(last.clean_equity)],
    ["held", number(last.hold_equity), last.hold_equity - 1],
    ...(row ? [
      ["Sharpe", fixed(2)(row.sharpe)], ["of holding", fixed(2)(row.hold_sharpe)], ["Sortino", fixed(2)(row.sortino)],
      ["maximum drawdown", percent(row.maximum_drawdown)], ["of holding", percent(row.hold_maximum_drawdown)],
      ["trades", number(row.trades)], ["won", percent(row.win_rate)], ["profit factor", fixed(2)(row.profit_factor)],
      ["exposed", percent(row.exposure)], ["live", row.is_live ? "yes" : "no"],
    ] : []),
  ]);
  one("#trades .scroll").replaceChildren(table("Trades", [
    { head: "entered", of: (trade) => moment(trade.entry_at) }, { head: "left", of: (trade) => moment(trade.exit_at) },
    { head: "direction", of: (trade) => trade.direction, text: true },
    { head: "at", of: (trade) => trade.entry_price, form: number }, { head: "left at", of: (trade) => trade.exit_price, form: number },
    { head: "return", of: (trade) => trade.trade_return, form: percent, tone: (trade) => trade.trade_return },
    { head: "why", of: (trade) => (trade.is_open ? "open" : trade.exit_reason), text: true },
  ], trades.data));
}

async function correlation(isLast) {
  const timeframe = chosen.hasFeatures ? chosen.timeframe : "1D";
  const few = world.instruments.length <= MOST_OF_A_MAP;
  const there = few ? world.instruments : world.instruments.filter((row) => row.exchange === chosen.exchange);
  const wanted = there.slice(0, MOST_OF_A_MAP);
  const { data } = await ask("reports/correlation", few ? { timeframe }
    : { timeframe, symbol: wanted.map((row) => row.symbol), exchange: chosen.exchange });
  if (!isLast()) return;
  const pairs = one("#pairs").value, cells = new Map(), rows = new Map();
  for (const pair of data) {
    for (const [a, b] of [["a", "b"], ["b", "a"]]) {
      const row = { symbol: pair[`symbol_${a}`], exchange: pair[`exchange_${a}`], market_type: pair[`market_type_${a}`], number: pair[`instrument_id_${a}`] };
      rows.set(row.number, row);
      cells.set(`${row.number} ${pair[`instrument_id_${b}`]}`, [pair[`correlation_${pairs}`], pair[`pairs_${pairs}`]]);
    }
  }
  const all = [...rows.values()].sort((a, b) => label(a).localeCompare(label(b)));
  const made = table(`Correlation of the last ${pairs} ${timeframe} returns`, [
    { head: "", of: label },
    ...all.map((other) => ({ head: label(other).split("/")[0], title: label(other), of: (row) => {
      const [value] = cells.get(`${row.number} ${other.number}`) ?? [null];
      return fixed(2)(value);
    } })),
  ], all);
  made.classList.add("heat");
  [...made.tBodies[0].rows].forEach((line, at) => [...line.cells].slice(1).forEach((cell, place) => {
    const [value, count] = cells.get(`${all[at].number} ${all[place].number}`) ?? [null, 0];
    if (value !== null) cell.setAttribute("style", heat(value));
    cell.title = `${label(all[at])}, ${label(all[place])}: ${count} bars closed together`;
  }));
  made.tHead.rows[0].cells[0].replaceChildren(element("span", {}, timeframe));
  one("#correlation .scroll").replaceChildren(...(all.length ? [made] : [nothing("There are no pairs yet.")]),
    ...(there.length > wanted.length ? [nothing(`The first ${wanted.length} of ${there.length}; /v1/reports/correlation has others.`)] : []));
}

async function health(isLast) {
  let data;
  try {
    ({ data } = await ask("data-health"));
  } catch (error) {
    return refused("health", error);
  }
  if (!isLast()) return;
  one("#health .scroll").replaceChildren(data.length ? table("Data health", [
    { head: "series", of: (row) => `${label(row)} ${row.timeframe}` },
    { head: "status", of: (row) => row.status === "ok" ? "ok" : element("b", { class: "badge" }, row.status.replace("_", " ")), text: true },
    { head: "last close", of: (row) => row.last_closed_at, form: moment },
    { head: "age", of: (row) => row.last_candle_age, form: age },
    { head: "complete", of: (row) => row.completeness, form: percent },
    { head: "candles", of: (row) => row.candle_count, form: amount },
    { head: "outages", of: (row) => row.outage_count, form: number },
    { head: "not fetched", of: (row) => row.not_fetched_count, form: number },
    { head: "quarantined", of: (row) => row.quarantined_count, form: number },
    { head: "revised", of: (row) => row.revision_count, form: number },
    { head: "differ", of: (row) => row.differing_count, form: number, title: "bars that are not what their candles make, by titan reconcile" },
  ], data) : nothing("There are no candles yet."));
}

// --- all together ------------------------------------------------------------------------------------------------------

async function names() {
  const [instruments, timeframes] = await Promise.all([ask("symbols"), ask("timeframes")]);
  world.instruments = instruments.data;
  world.timeframes = timeframes.data;
  world.known = null;
  one("#symbols").replaceChildren(...world.instruments.map((row) => element("option", { value: label(row) })));
}

const NEWS = { watch: watchList, dive, leaders, account, correlation, health };

/** Everything, of what the address names. */
function show() {
  return part("all", async () => {
    if (!world.instruments.length) await names();
    readAddress();
    world.price ??= new PriceChart(one("#price-chart"), (first) => part("older", () => olderBars(first)));
    // First what is looked at first; the account knows its figures from the leaders.
    await Promise.all([part("bars", bars), part("watch", watchList), part("dive", dive)]);
    await part("leaders", leaders);
    await Promise.all(["account", "correlation", "health"].map((name) => part(name, NEWS[name])));
  });
}

const waiting = new Map();

/** Soon, once, however often it is asked for meanwhile. */
function soon(name, work, wait) {
  if (waiting.has(name)) return;
  waiting.set(name, setTimeout(() => {
    waiting.delete(name);
    part(name, work);
  }, wait));
}

function hear(kind, message) {
  if (!message.topic) { // hello, missed, back, away, end: nothing is kept for who does not listen
    if (kind === "away" || kind === "end" || message.away_since) return away(message);
    one("#live").className = "on";
    one("#live").textContent = "live";
    if (kind !== "hello" || world.wasAway) soon("all", async () => { await names(); await show(); }, 50);
    world.wasAway = false;
    return;
  }
  one("#live").textContent = `live, ${new Date().toISOString().slice(11, 19)} UTC`;
  if (message.topic === "alerts") {
    one("#told").textContent = `${message.severity} ${message.state}: ${message.message} (${moment(message.at)} UTC)`;
    return soon("health", health, 500);
  }
  if (message.symbol && !world.instruments.some((row) => row.symbol === message.symbol)) {
    return soon("all", async () => { await names(); await show(); }, 500);
  }
  if (message.topic === "signals") return ["leaders", "account"].forEach((name) => soon(name, NEWS[name], 1500));
  soon("watch", watchList, 400);
  for (const name of ["correlation", "health"]) soon(name, NEWS[name], 20000);
  const isOurs = (!message.symbol || (message.symbol === chosen.symbol && message.exchange === chosen.exchange && message.market === chosen.market))
    && (!message.timeframe || message.timeframe === chosen.timeframe);
  if (!isOurs) return;
  const last = world.bars.at(-1)?.closed_at;
  const isNew = message.from && last && Date.parse(message.from) >= Date.parse(last);
  if (!isNew) world.isRevised = true;
  soon("bars", (isLast) => {
    const work = world.isRevised ? bars : newBars;
    world.isRevised = false;
    return work(isLast);
  }, 60);
  soon("dive", dive, 200);
}

function away(told) {
  world.wasAway = true;
  const live = one("#live");
  live.className = "off";
  live.textContent = told?.since || told?.away_since
    ? `the database is away since ${(told.since ?? told.away_since).slice(11, 19)} UTC` : "not connected";
}

function paint(theme) {
  document.documentElement.dataset.theme = theme;
  world.price?.paint();
  world.account?.paint();
}

const preferred = matchMedia("(prefers-color-scheme: dark)");
paint(localStorage.getItem("titan-theme") ?? (preferred.matches ? "dark" : "light"));
preferred.addEventListener("change", () => localStorage.getItem("titan-theme") ?? paint(preferred.matches ? "dark" : "light"));

function turn() {
  const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  localStorage.setItem("titan-theme", theme);
  paint(theme);
}

function find() {
  const text = one("#symbol").value.trim().toUpperCase();
  const found = world.instruments.find((row) => label(row).toUpperCase() === text)
    ?? world.instruments.find((row) => row.symbol === text || row.former_symbols.includes(text))
    ?? world.instruments.find((row) => row.symbol.startsWith(text));
  if (!text || !found) return told("choice", new Problem(404, { detail: `there is no ${text || "such symbol"}`, hint: "the watch list has what there is" }));
  told("choice", null);
  if (!isChosen({ ...found })) choose({ ...named(found), signal: chosen.signal });
}

function step(by) {
  const rows = world.watched ?? [];
  const at = rows.findIndex(isChosen);
  if (rows.length) choose(named(rows[(at + by + rows.length) % rows.length]));
}

function longer(by) {
  const at = world.possible.findIndex((row) => row.timeframe === chosen.timeframe) + by;
  if (world.possible[at]) choose({ timeframe: world.possible[at].timeframe });
}

const KEYS = {
  "/": () => one("#symbol").select(), j: () => step(1), k: () => step(-1), "[": () => longer(-1), "]": () => longer(1),
  t: turn, "?": () => one("#help").showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, dialog[open]")) return;
  if (!KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
});
document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="?"]');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  history.pushState(null, "", link.getAttribute("href"));
  show();
});
addEventListener("popstate", show);
one("#choice").addEventListener("submit", (event) => { event.preventDefault(); find(); });
one("#symbol").addEventListener("change", find);
one("#timeframe").addEventListener("change", (event) => choose({ timeframe: event.target.value }));
one("#signal").addEventListener("change", (event) => choose({ signal: event.target.value }));
one("#pairs").addEventListener("change", () => part("correlation", correlation));
one("#shown").addEventListener("change", (event) => world.price?.show(event.target.name, event.target.checked));
one("#theme").addEventListener("click", turn);
one("#help-open").addEventListener("click", KEYS["?"]);
one("#key").addEventListener("close", () => {
  key.set(one("#key-value").value.trim());
  one("#key-value").value = "";
  start();
});
setInterval(() => document.hidden || part("health", health), 60000);

/** Show, and go on hearing what becomes new. */
function start() {
  show();
  if (world.isListening) return;
  world.isListening = true;
  listen(TOPICS, hear, (isOn, refusedBy) => {
    if (refusedBy) world.isListening = false; // a key is asked for
    else if (!isOn) away();
  });
}

start();
