// The report's explorer: a front with a handle, and what was said near the trade-off it is at.
(() => {
  "use strict";
  const { html, svg, mark, number, inWords, isSame } = globalThis.paretoFront;
  const SHOWN_AT_FIRST = 3;
  const QUIET_MS = 500;

  const distance = (one, other) => one.reduce((sum, weight, i) => sum + (weight - other[i]) ** 2, 0);
  const nearest = (tradeoffs, wanted) =>
    tradeoffs.reduce((best, t, i) => (distance(t, wanted) < distance(tradeoffs[best], wanted) ? i : best), 0);
  const clip = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);
  const size = (method) => method.hypervolume?.value ?? -1;

  // Samples by prompt, in their order: prompt -> method -> sample.
  const byPrompt = (samples) => {
    const prompts = [];
    for (const sample of samples) {
      if (prompts.at(-1)?.text !== sample.prompt) prompts.push({ text: sample.prompt, said: new Map() });
      prompts.at(-1).said.set(sample.method, sample);
    }
    return prompts;
  };

  const bars = (result, rewards, color) =>
    html("dl", { class: "xp-bars" }, result.objectives.flatMap((name, i) => {
      const room = result.high[i] - result.low[i];
      const share = Math.min(1, Math.max(0, (rewards[i] - result.low[i]) / room));
      const bar = svg(
        "svg", { viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" },
        svg("rect", { width: 100, height: 6, rx: 1, fill: "var(--grid)" }),
        svg("rect", { width: (100 * share).toFixed(1), height: 6, rx: 1, fill: `var(${color})` }),
      );
      return [html("dt", { title: name }, name), html("dd", {}, bar, html("span", {}, number(rewards[i])))];
    }));

  // One method's reply to the prompt, of the trade-off nearest to the one asked for.
  const card = (result, look, sample, k, wanted) => {
    const shown = sample.tradeoffs[k];
    const point = result.methods.find((m) => m.name === sample.method)
      ?.points.find((p) => isSame(p.tradeoff, shown));
    const far = isSame(shown, wanted) ? null : html("span", {}, "(the nearest that is kept)");
    const text = sample.replies[k];
    return html(
      "article", { class: "xp-card", "aria-label": sample.method },
      html("h4", {}, mark(look), html("span", {}, sample.method)),
      html("p", { class: "xp-at" }, inWords(result.objectives, shown), far),
      html("div", { class: "said" }, text.trim() ? text : "(empty reply)"),
      bars(result, sample.rewards[k], look.variable),
      point ? html("p", { class: "xp-policy" }, point.policy) : null,
    );
  };

  const browser = (result, looks, id) => {
    const prompts = byPrompt(result.samples);
    const names = [...new Set(result.samples.map((sample) => sample.method))];
    const state = { prompt: 0, methods: [], tradeoff: null };
    const cards = html("div", { class: "xp-cards" });
    const asked = html("p", { class: "xp-prompt said", id: `${id}-prompt` });
    const status = html("p", { class: "xp-status", role: "status" });
    const select = html(
      "select", { id: `${id}-select` },
      prompts.map((prompt, i) => html("option", { value: i }, clip(prompt.text.replace(/\s+/g, " "), 90))),
    );
    let timer = 0;

    const draw = () => {
      const { said, text } = prompts[state.prompt];
      asked.textContent = text;
      const shown = state.methods.filter((name) => said.has(name)).map((name) => said.get(name));
      cards.replaceChildren(...shown.map((sample) => {
        const k = nearest(sample.tradeoffs, state.tradeoff);
        return card(result, looks[sample.method], sample, k, state.tradeoff);
      }));
      if (!shown.length) cards.append(html("p", { class: "quiet" }, "Choose a method to see its replies."));
      // Heard once the hand rests, not at every pixel.
      clearTimeout(timer);
      timer = setTimeout(() => {
        status.textContent = `${shown.length} replies at ${inWords(result.objectives, state.tradeoff)}`;
      }, QUIET_MS);
    };
    const turn = (by) => {
      state.prompt = (state.prompt + by + prompts.length) % prompts.length;
      select.value = state.prompt;
      draw();
    };
    select.addEventListener("change", () => turn(Number(select.value) - state.prompt));
    const step = (sign, label, by) =>
      html("button", { type: "button", "aria-label": label, title: label, onclick: () => turn(by) }, sign);
    const node = html(
      "details", { class: "block xp-browse" },
      html("summary", {}, "Read the replies (text of models and data, not filtered: it may offend)"),
      html(
        "div", { class: "xp-choose" },
        html("label", { for: `${id}-select` }, "Prompt"), select,
        step("‹", "Previous prompt", -1), step("›", "Next prompt", 1),
      ),
      asked, cards, status,
    );
    const put = (changes) => {
      Object.assign(state, changes);
      draw();
    };
    return { node, names, put };
  };

  const chooser = (methods, looks, chosen, changed) => {
    const boxes = methods.map((name) => {
      const box = html("input", { type: "checkbox", value: name });
      box.checked = chosen.includes(name);
      box.addEventListener("change", () => changed(boxes.filter((b) => b.checked).map((b) => b.value)));
      return box;
    });
    return html(
      "fieldset", { class: "xp-methods" }, html("legend", {}, "Methods shown"),
      boxes.map((box) => html("label", {}, box, mark(looks[box.value]), html("span", {}, box.value))),
    );
  };

  const explore = (root, { result, looks, stepped }) => {
    const measured = result.methods.filter((method) => method.points.length);
    if (!measured.length) return;
    const ranked = [...measured].sort((a, b) => size(b) - size(a)).map((method) => method.name);
    const chosen = ranked.slice(0, SHOWN_AT_FIRST);
    const id = root.id;
    const front = html("pareto-front", { role: "group", "aria-label": `Front of ${result.name}` });
    const follow = html(
      "select", { id: `${id}-follow` }, measured.map(({ name }) => html("option", { value: name }, name)),
    );
    follow.value = ranked[0];
    root.append(html("div", { class: "xp-front" }, front));
    Object.assign(front, { result, looks, stepped, method: ranked[0], methods: chosen });
    const said = result.samples.length ? browser(result, looks, id) : null;
    const show = (names) => {
      front.methods = names;
      said?.put({ methods: names });
    };
    const inOrder = measured.map((method) => method.name);
    root.append(html(
      "div", { class: "xp-side" },
      html("p", { class: "xp-choose" }, html("label", { for: follow.id }, "The handle follows"), follow),
      chooser(inOrder, looks, chosen, show),
      said?.node ?? html("p", { class: "quiet" }, "This run kept no replies to read."),
    ));
    follow.addEventListener("change", () => { front.method = follow.value; });
    front.addEventListener("tradeoff", (event) => said?.put({ tradeoff: event.detail.tradeoff }));
    said?.put({ methods: inOrder.filter((name) => chosen.includes(name)), tradeoff: front.tradeoff });
  };

  for (const root of document.querySelectorAll(".explorer")) {
    explore(root, JSON.parse(document.getElementById(`${root.id}-data`).textContent));
  }
  for (const node of document.querySelectorAll(".with-script")) node.hidden = false;
})();
