"use strict";
// Draws the logs in DATA: one column for each. Times are in milliseconds from a log's first event.
const LEVELS = { initial: ["Initial", "--initial"], handshake: ["Handshake", "--handshake"], "0RTT": ["0-RTT", "--zero"], "1RTT": ["1-RTT", "--one"] };
const color = level => `var(${(LEVELS[level] || ["", "--soft"])[1]})`;
const esc = text => String(text ?? "").replace(/[&<>"]/g, c => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" }[c]));
const ms = t => t >= 10000 ? (t / 1000).toFixed(2) + " s" : t >= 100 ? t.toFixed(0) + " ms" : t.toFixed(2) + " ms";
const bytes = n => { if (n == null) return "?"; const u = ["B", "KiB", "MiB", "GiB"]; let i = 0; while (n >= 1024 && i < 3) { n /= 1024; i++; } return (i ? n.toFixed(n < 10 ? 2 : 1) : n) + " " + u[i]; };
const W = 760;
const el = (html, parent) => { const t = document.createElement("template"); t.innerHTML = html.trim(); return parent.appendChild(t.content.firstChild); };
const section = (parent, title, note, body) => el(`<section><h3>${title}</h3>${note ? `<p class="note">${note}</p>` : ""}${body}</section>`, parent);
const legend = items => `<div class="legend">${items.map(([name, c]) => `<span><i style="background:${c}"></i>${name}</span>`).join("")}</div>`;
const of = (end, kind) => end.events.filter(e => e.k === kind);
const lastOf = list => list.length ? list[list.length - 1] : undefined;
const framesText = e => (e.f || []).map(f => {
  const [n, a, b, c, d] = f, name = n.toUpperCase();
  if (n === "stream") return `STREAM ${a} [${b ?? 0}+${c ?? "?"}]${d ? " FIN" : ""}`;
  if (n === "ack") return `ACK ..${a ?? "?"}`;
  if (n === "crypto" || n === "datagram") return `${name} ${c ?? ""}`;
  if (n === "connection_close") return `CLOSE ${a ?? ""} ${b ?? ""} ${d ?? c ?? ""}`;
  return name;
}).reduce((out, f) => { if (lastOf(out)?.[0] === f) lastOf(out)[1]++; else out.push([f, 1]); return out; }, []).map(([f, n]) => n > 1 ? `${f} ×${n}` : f).join(", ");

function ticks(max, count = 6) {
  if (!(max > 0)) return [0];
  const raw = max / count, mag = 10 ** Math.floor(Math.log10(raw)), step = [1, 2, 2.5, 5, 10].map(x => x * mag).find(x => x >= raw);
  const out = []; for (let t = 0; t <= max * 1.0001; t += step) out.push(t); return out;
}
function frame(duration, height, left = 62) {
  const x = t => left + (W - left - 12) * (duration ? t / duration : 0);
  let svg = "";
  for (const t of ticks(duration)) svg += `<line class="grid" x1="${x(t)}" x2="${x(t)}" y1="6" y2="${height - 20}"/><text x="${x(t)}" y="${height - 5}" text-anchor="middle">${+t.toPrecision(4)}</text>`;
  svg += `<text x="${W - 8}" y="${height - 5}" text-anchor="end" style="display:none">ms</text>`;
  return { x, svg };
}
// Least and largest value for each pixel column: what is drawn cannot hide a peak.
function thin(points, x) {
  const out = []; let col = null, lo, hi, first, last;
  const put = () => { if (col !== null) { const s = new Set([first, lo, hi, last]); out.push(...[...s].sort((a, b) => a[0] - b[0])); } };
  for (const p of points) { const c = Math.round(x(p[0])); if (c !== col) { put(); col = c; lo = hi = first = p; } if (p[1] < lo[1]) lo = p; if (p[1] > hi[1]) hi = p; last = p; }
  put(); return out;
}
function chart(duration, series, format, marks = [], height = 210) {
  const { x, svg } = frame(duration, height), max = Math.max(1e-9, ...series.map(s => s.points.reduce((m, p) => Math.max(m, p[1]), 0))) * 1.06;
  const y = v => 8 + (height - 30) * (1 - v / max);
  let out = svg;
  for (const v of ticks(max, 4)) out += `<line class="grid" x1="62" x2="${W - 12}" y1="${y(v)}" y2="${y(v)}"/><text x="56" y="${y(v) + 4}" text-anchor="end">${format(v)}</text>`;
  for (const m of marks) out += `<line x1="${x(m.t)}" x2="${x(m.t)}" y1="8" y2="${height - 22}" stroke="${m.c}" stroke-width="1" opacity=".45"><title>${esc(m.title)}</title></line>`;
  for (const s of series) {
    if (!s.points.length) continue;
    let d = "", py = null;
    for (const [t, v] of thin(s.points, x)) { const X = x(t).toFixed(1), Y = y(v).toFixed(1); d += d ? (s.step ? `H${X}V${Y}` : `L${X},${Y}`) : `M${X},${Y}`; py = Y; }
    if (s.step) d += `H${x(duration).toFixed(1)}`;
    if (s.fill) out += `<path d="${d}V${y(0)}H${x(s.points[0][0]).toFixed(1)}Z" fill="${s.c}" opacity=".13"/>`;
    out += `<path d="${d}" fill="none" stroke="${s.c}" stroke-width="${s.w || 1.6}" stroke-linejoin="round"/>`;
  }
  return `<svg viewBox="0 0 ${W} ${height}" role="img">${out}</svg>`;
}

function facts(end) {
  const sent = of(end, "s"), received = of(end, "r"), lost = of(end, "l"), m = of(end, "m"), e = of(end, "e");
  const named = n => e.filter(x => x.n === n);
  const ready = named("connection_state_updated").find(x => /complete|confirmed|established/.test(x.x?.new));
  const data = list => list.reduce((sum, p) => sum + (p.f || []).reduce((s, f) => s + (f[0] === "stream" ? f[3] || 0 : 0), 0), 0);
  const alpn = named("alpn_information")[0]?.x?.chosen_alpn, srtt = lastOf(m.filter(x => x.srtt != null)), min = lastOf(m.filter(x => x.min != null));
  const rows = [["time seen", ms(end.duration)], ["handshake", ready ? ms(ready.t) : "?"], ["packets sent", sent.length], ["packets received", received.length],
    ["stream data out", bytes(data(sent))], ["stream data in", bytes(data(received))], ["packets lost", lost.length + (sent.length ? ` (${(100 * lost.length / sent.length).toFixed(2)} %)` : "")],
    ["probe timeouts", named("timer_updated").concat(named("loss_timer_updated")).filter(x => x.x?.event_type === "expired").length]];
  if (srtt) rows.push(["round trip, least / last", `${min ? min.min.toFixed(2) : "?"} / ${srtt.srtt.toFixed(2)} ms`]);
  if (alpn) rows.push(["protocol", alpn.string_value ?? alpn.byte_value ?? alpn]);
  return `<div class="facts">${rows.map(([n, v]) => `<div><b>${esc(v)}</b><span>${n}</span></div>`).join("")}</div>`;
}

// Both directions by encryption level: a row for each packet, the first ones until the handshake is seen.
function sequence(end, from, count) {
  const rows = end.events.filter(e => "srldb".includes(e.k) || e.k === "e" && KEY[e.n]).slice(from, from + count);
  const here = end.role === "server" ? 690 : 330, there = end.role === "server" ? 330 : 690, H = 21;
  let y = 34, out = "";
  for (const e of rows) {
    const c = color(e.l), Y = y;
    out += `<text x="72" y="${Y + 4}" text-anchor="end">${e.t.toFixed(2)}</text>`;
    if (e.k === "s" || e.k === "r") {
      const [x1, x2] = e.k === "s" ? [here, there] : [there, here], dir = x2 > x1 ? 1 : -1, gone = e.k === "s" && end.lost.has(e.l + e.p), stop = gone ? x1 + (x2 - x1) * .62 : x2;
      out += `<line x1="${x1 + 4 * dir}" y1="${Y}" x2="${stop - 5 * dir}" y2="${Y}" stroke="${c}" stroke-width="1.5"/>`;
      out += gone ? `<path d="M${stop - 4},${Y - 4}l8,8m0,-8l-8,8" stroke="var(--lost)" stroke-width="2"/>` : `<path d="M${x2 - 4 * dir},${Y}l${-7 * dir},-3.6v7.2z" fill="${c}"/>`;
      const text = framesText(e), name = `${(LEVELS[e.l] || [e.l])[0]} ${e.p ?? ""}`, size = e.z != null ? `${e.z} B` : "";
      const short = text.length > 58 ? text.slice(0, 56) + "…" : text;
      out += `<text x="510" y="${Y - 4}" text-anchor="middle" style="paint-order:stroke;stroke:var(--card);stroke-width:4px"><tspan style="fill:${c};font-weight:600">${esc(name)}</tspan> ${esc(short)}<title>${esc(text)}</title></text>`;
      out += `<text x="${e.k === "s" ? (here > there ? here + 10 : here - 10) : (here > there ? here + 10 : here - 10)}" y="${Y + 4}" text-anchor="${here > there ? "start" : "end"}">${size}</text>`;
    } else {
      const say = e.k === "l" ? [`lost: ${(LEVELS[e.l] || [e.l])[0]} ${e.p ?? ""}`, "var(--lost)"] : e.k === "d" ? [`dropped: ${typeof e.y === "string" ? e.y : e.l}`, "var(--lost)"] : e.k === "b" ? [`waits for keys: ${(LEVELS[e.l] || [e.l])[0]}`, "var(--mark)"] : [KEY[e.n](e.x || {}), "var(--mark)"];
      out += `<circle cx="${here}" cy="${Y}" r="3.5" fill="${say[1]}"/><text x="${here + (here > there ? 10 : -10)}" y="${Y + 4}" text-anchor="${here > there ? "start" : "end"}" style="fill:${say[1]}">${esc(String(say[0]).slice(0, 40))}</text>`;
    }
    y += H;
  }
  const head = (x, t) => `<line class="axis" x1="${x}" x2="${x}" y1="20" y2="${y - 8}" stroke-width="2"/><text class="ink" x="${x}" y="13" text-anchor="middle" style="font-weight:600">${t}</text>`;
  const side = end.role === "server" ? ["client", "server"] : [end.role === "client" ? "client" : "this end", end.role === "client" ? "server" : "peer"];
  return { svg: `<svg viewBox="0 0 ${W + 100} ${y}"><text x="72" y="13" text-anchor="end">ms</text>${head(330, side[0])}${head(690, side[1])}${out}</svg>`, more: end.events.filter(e => "srldb".includes(e.k) || e.k === "e" && KEY[e.n]).length > from + count };
}
const KEY = {
  connection_state_updated: x => String(x.new || "").replace(/_/g, " "),
  verdict_asked: () => "verdict asked", verdict_given: x => x.accepted ? "verdict: accepted" : "verdict: rejected",
  connection_closed: x => "closed: " + (x.reason || x.trigger || ""), timer_updated: x => x.event_type === "expired" ? `${x.timer_type || "timer"} expired` : "timer set",
  key_discarded: x => "keys gone: " + (x.key_type || ""), key_retired: x => "keys gone: " + (x.key_type || ""), migration_state_updated: x => "path: " + x.new, tuple_assigned: x => "path " + (x.tuple_id || ""), mtu_updated: x => `MTU ${x.new}`,
};

function streams(end) {
  const seen = new Map();
  for (const e of end.events) if (e.k === "s" || e.k === "r") for (const f of e.f || []) {
    if (f[1] == null || !["stream", "reset_stream", "stop_sending", "stream_data_blocked"].includes(f[0])) continue;
    const key = f[1]; if (!seen.has(key)) seen.set(key, { id: key, from: e.t, to: e.t, out: 0, in: 0, spans: [[], []], fin: false, marks: [] });
    const s = seen.get(key); s.to = e.t;
    if (f[0] === "stream") { const d = e.k === "s" ? 0 : 1; s[d ? "in" : "out"] += f[3] || 0; const span = lastOf(s.spans[d]); if (span && e.t - span[1] < end.duration / 300) span[1] = e.t; else s.spans[d].push([e.t, e.t]); s.fin ||= f[4]; }
    else s.marks.push([e.t, f[0]]);
  }
  const all = [...seen.values()].sort((a, b) => a.from - b.from); if (!all.length) return null;
  const shown = all.slice(0, 60), H = 20, height = shown.length * H + 34, { x, svg } = frame(end.duration, height, 130);
  let out = svg;
  shown.forEach((s, i) => {
    const y = 8 + i * H, kind = `${s.id & 1 ? "server" : "client"} ${s.id & 2 ? "uni" : "bidi"}`;
    out += `<text class="ink" x="0" y="${y + 12}">${s.id}</text><text x="28" y="${y + 12}">${kind}</text><rect x="${x(s.from)}" y="${y + 7}" width="${Math.max(1, x(s.to) - x(s.from))}" height="2" fill="var(--line)"/>`;
    [["--one", 1], ["--good", 9]].forEach(([c, dy], d) => { for (const [a, b] of s.spans[d]) out += `<rect x="${x(a)}" y="${y + dy}" width="${Math.max(1.5, x(b) - x(a))}" height="6" rx="1.5" fill="var(${c})"><title>stream ${s.id}: ${bytes(d ? s.in : s.out)} ${d ? "received" : "sent"}, ${ms(s.from)} to ${ms(s.to)}</title></rect>`; });
    for (const [t, n] of s.marks) out += `<path d="M${x(t)},${y}v16" stroke="var(--lost)" stroke-width="2"><title>${n.replace(/_/g, " ")}</title></path>`;
  });
  return { svg: `<svg viewBox="0 0 ${W} ${height}">${out}</svg>`, all: all.length, shown: shown.length };
}

function lifeline(end) {
  const rows = [], add = (t, text, cls = "") => rows.push([t, text, cls]);
  for (const e of end.events) {
    const x = e.x || {};
    if (e.k === "e") switch (e.n) {
      case "connection_started": add(e.t, "connection begins" + (x.remote?.ip_v4 || x.remote?.ip_v6 ? ` with ${esc(x.remote.ip_v4 || x.remote.ip_v6)}` : "")); break;
      case "connection_state_updated": add(e.t, esc(String(x.new).replace(/_/g, " ")), /confirmed|complete/.test(x.new) ? "good" : ""); break;
      case "alpn_information": if (x.chosen_alpn) add(e.t, "protocol agreed: " + esc(x.chosen_alpn.string_value ?? x.chosen_alpn)); break;
      case "verdict_asked": add(e.t, "<b>verdict asked</b>: is the peer's certificate good?", "mark"); break;
      case "verdict_given": add(e.t, `<b>verdict given</b>: ${x.accepted ? "accepted" : "rejected"}`, x.accepted ? "good" : "lost"); break;
      case "connection_closed": add(e.t, `<b>end</b>: ${esc(x.reason || x.trigger || "")}${x.error_code != null ? ` (code ${x.error_code})` : ""}`, "mark"); break;
      case "congestion_state_updated": if (rows.length < 400) add(e.t, "congestion: " + esc(String(x.new).replace(/_/g, " "))); break;
      case "mtu_updated": add(e.t, `datagrams of ${esc(x.new)} bytes`); break;
      case "tuple_assigned": case "migration_state_updated": add(e.t, "path: " + esc(x.new || x.tuple_remote?.ip_v4 || x.tuple_id)); break;
      case "key_updated": if (x.trigger !== "tls" && x.key_phase != null) add(e.t, "keys updated, phase " + x.key_phase); break;
      case "events_missing": add(e.t, `${x.count} events are missing: writing could not keep up`, "lost"); break;
    }
    if (e.k === "s" || e.k === "r") for (const f of e.f || []) {
      if (f[0] === "connection_close") add(e.t, `CONNECTION_CLOSE ${e.k === "s" ? "sent" : "received"} in ${(LEVELS[e.l] || [e.l])[0]}: ${esc(f[1] || "")} ${f[2] ?? ""} ${esc(f[3] || "")}`, "mark");
      if (f[0] === "handshake_done") add(e.t, `HANDSHAKE_DONE ${e.k === "s" ? "sent" : "received"}`);
    }
  }
  const once = rows.filter((r, i) => i === 0 || r[1] !== rows[i - 1][1]);
  const cut = once.length > 80 ? once.slice(0, 50).concat([[once[50][0], `… ${once.length - 75} more`, ""]], once.slice(-25)) : once;
  return `<table>${cut.map(([t, text, c]) => `<tr><td>${ms(t)}</td><td class="${c}">${text}</td></tr>`).join("")}</table>`;
}

function draw(end, parent) {
  end.duration = end.events.reduce((m, e) => "srml".includes(e.k) ? Math.max(m, e.t) : m, 0) || lastOf(end.events).t || 1;
  end.lost = new Set(of(end, "l").map(e => e.l + e.p));
  const col = el(`<div class="end"><h2>${esc(end.role)}<small>${esc(end.title)} · ${esc(end.file)}</small></h2></div>`, parent);
  section(col, "In short", "", facts(end));
  section(col, "Verdict, close and what led there", "", lifeline(end));
  const seq = section(col, "Packets", "Every packet of this end's view, by encryption level; a cross marks one that was lost. Hover over a packet for all its frames.", legend(Object.values(LEVELS).map(([n, c]) => [n, `var(${c})`])) + `<div class="scroll"></div>`);
  const scroll = seq.querySelector(".scroll"); let at = 0;
  const more = () => { const part = sequence(end, at, at ? 400 : 60); el(`<div>${part.svg}</div>`, scroll); at += at ? 400 : 60; if (part.more) { const b = el("<button>more packets</button>", scroll); b.onclick = () => { b.remove(); more(); }; } };
  more();
  const m = of(end, "m"), pick = k => m.filter(e => e[k] != null).map(e => [e.t, e[k]]);
  const losses = of(end, "l").map(e => ({ t: e.t, c: "var(--lost)", title: `lost ${e.l} ${e.p}` }));
  const probes = of(end, "e").filter(e => /timer_updated/.test(e.n) && e.x?.event_type === "expired").map(e => ({ t: e.t, c: "var(--mark)", title: "probe timeout" }));
  const marks = losses.concat(probes).filter((m, i, a) => i === 0 || Math.abs(m.t - a[i - 1].t) > end.duration / 700);
  if (m.length) {
    section(col, "Window and bytes in flight", "Over time in ms. Red lines are losses, amber ones probe timeouts.", chart(end.duration, [{ points: pick("f"), c: "var(--one)", fill: true, w: 1 }, { points: pick("w"), c: "var(--good)", step: true }], bytes, marks) + legend([["congestion window", "var(--good)"], ["bytes in flight", "var(--one)"], ["loss", "var(--lost)"], ["probe timeout", "var(--mark)"]]));
    section(col, "Round-trip time", "In ms, over time in ms.", chart(end.duration, [{ points: pick("rtt").filter(p => p[1] > 0), c: "var(--soft)", w: .9 }, { points: m.filter(e => e.srtt != null && e.min !== 0).map(e => [e.t, e.srtt]), c: "var(--handshake)" }, { points: pick("min").filter(p => p[1] > 0), c: "var(--zero)", step: true, w: 1.2 }], v => +v.toPrecision(3), [], 170) + legend([["latest", "var(--soft)"], ["smoothed", "var(--handshake)"], ["least", "var(--zero)"]]));
  }
  const data = k => { let sum = 0; const out = [[0, 0]]; for (const e of of(end, k)) { const n = (e.f || []).reduce((s, f) => s + (f[0] === "stream" ? f[3] || 0 : 0), 0); if (n) out.push([e.t, sum += n]); } return out; };
  const stalls = []; for (const e of end.events) if (e.k === "s" || e.k === "r") for (const f of e.f || []) if (/_blocked$/.test(f[0])) stalls.push({ t: e.t, c: e.k === "s" ? "var(--lost)" : "var(--mark)", title: `${f[0].toUpperCase()} ${e.k === "s" ? "sent" : "received"}` });
  section(col, "Stream data and flow-control stalls", stalls.length ? `${stalls.length} *_BLOCKED frames: red ones this end sent, amber ones it received.` : "No *_BLOCKED frame: flow control never stood in the way.", chart(end.duration, [{ points: data("s"), c: "var(--one)" }, { points: data("r"), c: "var(--good)" }], bytes, stalls, 170) + legend([["sent", "var(--one)"], ["received", "var(--good)"]]));
  const w = streams(end);
  if (w) section(col, "Streams", w.all > w.shown ? `The first ${w.shown} of ${w.all}, over time in ms.` : "Over time in ms. Red marks: reset, stop, blocked.", w.svg + legend([["sent", "var(--one)"], ["received", "var(--good)"]]));
}

document.getElementById("sub").textContent = DATA.map(e => `${e.role}: ${e.events.length} events`).join(" · ") + (DATA[0]?.wall ? ` · from ${DATA[0].wall}` : "");
const main = document.getElementById("main");
main.style.setProperty("--ends", DATA.length);
if (DATA.length === 1) main.style.maxWidth = document.querySelector("header").style.maxWidth = "1040px";
DATA.forEach(end => draw(end, main));
