// The live verdict: earwitnessPage(element) shows it in the element, and returns a function that ends it.
const earwitnessPage = (() => {
  const STYLE = `
    .ew { --pass: #1a7f37; --fail: #cf222e; --unknown: #9a6700; --fault: #bc4c00; --line: #8884; padding: 0 1rem 2rem;
      color: inherit; }
    .ew[data-theme=dark] { --pass: #3fb950; --fail: #ff7b72; --unknown: #d29922; --fault: #f0883e; }
    @media (prefers-color-scheme: dark) { .ew:not([data-theme]) { --pass: #3fb950; --fail: #ff7b72; --unknown: #d29922;
      --fault: #f0883e; } }
    .ew h1 { font-size: 1.5rem; margin: .8rem 0 .2rem; }
    .ew h2 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
    .ew h3 { font-size: 1rem; margin: 1rem 0 .2rem; }
    .ew p { margin: .2rem 0; overflow-wrap: anywhere; }
    .ew table { border-collapse: collapse; width: 100%; }
    .ew th, .ew td { text-align: left; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--line);
      vertical-align: top; }
    .ew .n { text-align: right; font-variant-numeric: tabular-nums; }
    .ew .PASS { color: var(--pass); } .ew .FAIL { color: var(--fail); } .ew .UNKNOWN { color: var(--unknown); }
    .ew .outcome { font-weight: 600; }
    .ew .quiet { opacity: .75; }
    .ew pre { margin: .2rem 0 .4rem 1rem; overflow-x: auto; font-size: .85rem; }
    .ew img { width: 60rem; min-width: 40rem; max-width: 100%; background: #fff; }
    .ew a { color: inherit; }
    .ew button { font: inherit; padding: .1rem .6rem; cursor: pointer; }
    .ew .scroll { overflow-x: auto; }
    .ew .track { position: relative; height: 1.1rem; border: 1px solid var(--line); border-radius: 3px; margin: .4rem 0;
      overflow: hidden; }
    .ew .passed { position: absolute; inset: 0 auto 0 0; background: var(--line); }
    .ew .fault { position: absolute; top: 0; bottom: 0; min-width: 3px; background: var(--fault); opacity: .7; }
    @media (max-width: 40rem) { .ew .question { display: none; } .ew { padding: 0 .4rem 2rem; } }
  `;
  const PAGE = `
    <h1 class="at-outcome">Verdict</h1>
    <p class="at-why"></p>
    <p class="at-stage outcome" role="status"></p>
    <div class="at-time" hidden><div class="track"><div class="passed"></div></div><p class="at-faults quiet"></p></div>
    <p class="at-load quiet"></p>
    <p class="at-delays quiet"></p>
    <section class="at-found" hidden><h2>Findings</h2><div class="at-findings"></div></section>
    <section class="at-told" hidden>
      <h2>Checks</h2>
      <div class="scroll" tabindex="0" role="region" aria-label="Checks"><table>
        <thead><tr><th scope="col">Check</th><th scope="col">Outcome</th><th scope="col" class="n">Examined</th>
          <th scope="col" class="n">Violations</th><th scope="col" class="question">Question</th></tr></thead>
        <tbody class="at-checks"></tbody>
      </table></div>
      <p class="at-silent quiet"></p>
    </section>
    <section class="at-before" hidden>
      <h2>Runs of this process</h2>
      <div class="scroll" tabindex="0" role="region" aria-label="Runs"><table><tbody class="at-runs"></tbody></table></div>
    </section>
  `;
  const KEPT = 3;  // findings of a check that are shown; the others are counted
  const number = n => n.toLocaleString("en");

  function element(name, text, kind) {
    const made = document.createElement(name);
    made.textContent = text;
    if (kind) made.className = kind;
    return made;
  }

  function ms(value) {
    return `${value < 100 ? Number(value.toPrecision(3)) : Math.round(value)} ms`;
  }

  function row(...cells) {
    const made = document.createElement("tr");
    made.append(...cells);
    return made;
  }

  function check(c) {
    const name = c.promised ? `${c.id} ${c.name}` : `${c.id} ${c.name} (never promised)`;
    const question = element("td", c.title, "question");
    if (c.why && c.outcome !== "PASS") question.append(element("div", c.why, "quiet"));
    return row(element("td", name), element("td", c.outcome, `outcome ${c.outcome}`),
      element("td", number(c.examined), "n"), element("td", number(c.violations), "n"), question);
  }

  // A box that scrolls on a narrow screen, with the keyboard too.
  function scrolling(content, tag, label) {
    const made = document.createElement(tag);
    made.append(content);
    made.className = "scroll";
    made.tabIndex = 0;
    made.setAttribute("role", "region");
    made.setAttribute("aria-label", label);
    return made;
  }

  function finding(f, name) {
    const made = document.createElement("div");
    const words = [f.sentence, ...f.records, ...(f.command ? [f.command] : [])].join("\n");
    const copy = element("button", "Copy");
    copy.type = "button";
    copy.setAttribute("aria-label", `Copy this finding of ${f.check}`);
    copy.onclick = async () => {
      await navigator.clipboard.writeText(words);
      copy.textContent = "Copied";
    };
    made.append(element("p", f.sentence));
    if (f.picture) {
      const picture = document.createElement("img");
      picture.src = `verdict/runs/${encodeURIComponent(name)}/${f.picture}`;
      picture.alt = `Swim-lane: ${f.sentence}`;
      picture.loading = "lazy";
      made.append(scrolling(picture, "div", `Picture: ${f.sentence}`));
    }
    made.append(scrolling(f.records.join("\n"), "pre", `Records: ${f.sentence}`), copy);
    return made;
  }

  function run(r) {
    const name = document.createElement("td");
    if (r.judged) {
      for (const [text, file] of [[r.run, "/report.html"], ["as text", ""]]) {
        const link = element("a", text);
        link.href = `verdict/runs/${encodeURIComponent(r.run)}${file}`;
        link.target = "_blank";
        name.append(link, " ");
      }
    } else name.textContent = r.run;
    return row(name, element("td", r.outcome, `outcome ${r.outcome}`), element("td", r.why));
  }

  return place => {
    place.classList.add("ew");
    place.innerHTML = `<style>${STYLE}</style>${PAGE}`;
    const at = name => place.querySelector(`.at-${name}`);
    let shown = "";

    function findings(live, newest) {
      const key = JSON.stringify([live.state, newest, live.findings]);
      if (key === shown) return;  // a button under the pointer must not be replaced each second
      shown = key;
      const groups = new Map();
      // During the run the newest first; at the end those that have a picture are the first.
      for (const f of live.state === "running" ? [...live.findings].reverse() : live.findings) {
        const id = `${f.check} ${f.name}`;
        groups.set(id, [...(groups.get(id) || []), f]);
      }
      at("found").hidden = !groups.size;
      at("findings").replaceChildren(...[...groups].map(([id, found]) => {
        const group = document.createElement("section");
        group.append(element("h3", id, "FAIL"), ...found.slice(0, KEPT).map(f => finding(f, newest)));
        if (found.length > KEPT) group.append(element("p", `and ${found.length - KEPT} more like these`, "quiet"));
        return group;
      }));
    }

    function told(live, newest) {
      const going = live.state === "running";
      at("outcome").textContent = !going ? live.outcome
        : live.outcome === "FAIL" ? "FAIL – run still in progress" : "Nothing broken so far";
      at("outcome").className = `at-outcome ${going && live.outcome !== "FAIL" ? "" : live.outcome}`;
      at("why").textContent = going && live.outcome !== "FAIL"
        ? "Missing messages and the record itself are judged when the run has ended." : live.why;
      const m = live.messages;
      at("load").textContent = `${live.story} · seed ${live.seed} · ${number(live.connections.open)} connections open · ` +
        `${number(m.sent)} sent · ${number(m.heard)} received · ${number(live.records)} records judged`;
      at("delays").textContent = Object.entries(live.fan_out).map(
        ([size, f]) => `room of ${size}: received after ${ms(f.p50_ms)} (p50), ${ms(f.p99_ms)} (p99)`).join(" · ");
      const seen = live.checks.filter(c => c.examined || c.violations || (c.counts && !going));
      const broken = seen.filter(c => c.outcome === "FAIL"), whole = seen.filter(c => c.outcome !== "FAIL");
      at("checks").replaceChildren(...[...broken, ...whole].map(check));
      const silent = live.checks.filter(c => !seen.includes(c)).map(c => c.id);
      at("silent").textContent = silent.length
        ? `${going ? "Nothing to examine yet" : "Not exercised"}: ${silent.join(", ")}` : "";
      findings(live, newest);
    }

    function time(p) {
      const words = !p.stage ? "" : p.of ? `${p.stage}: ${number(p.done)} of ${number(p.of)} rooms` : `${p.stage} …`;
      if (at("stage").textContent !== words) at("stage").textContent = words;
      at("time").hidden = !p.planned;
      if (!p.planned) return;
      const share = s => `${100 * Math.min(1, s / p.planned)}%`;
      const track = place.querySelector(".track");
      track.querySelector(".passed").style.width = share(p.seconds);
      track.querySelectorAll(".fault").forEach(old => old.remove());
      for (const fault of p.faults) {
        const band = element("div", "", "fault");
        band.title = fault.name;
        band.style.left = share(fault.start_s);
        band.style.width = share(fault.end_s - fault.start_s);
        track.append(band);
      }
      const faults = p.faults.map(f => `${f.name} at ${f.start_s} s`).join(", ");
      at("faults").textContent = `${Math.round(p.seconds)} of ${p.planned} s${faults ? ` · planned faults: ${faults}` : ""}`;
    }

    async function refresh() {
      try {
        const state = await (await fetch("verdict/live", { cache: "no-store" })).json();
        at("told").hidden = !state.live;
        if (state.live) told(state.live, state.runs[0].run);
        else at("why").textContent = state.runs.length ? "The judge has read no record yet." : "No run was started yet.";
        time(state.progress);
        at("before").hidden = !state.runs.length;
        at("runs").replaceChildren(...state.runs.map(run));
      } catch (error) {
        at("load").textContent = "Locust does not answer any more; this is the last state received.";
      }
    }

    refresh();
    const timer = setInterval(refresh, 1000);
    return () => clearInterval(timer);
  };
})();
