// The same prompt for two to four trade-offs or methods, side by side, with their rewards.
import { ask } from "./server.js";
import { ReplyView, button, clear, composer, examples, named, notice, rewardBars, say, settings } from "./parts.js";

const { html, inWords, corner, rounded, Sliders } = paretoFront;
const [FEWEST, MOST] = [2, 4];

export class Compare {
  constructor(panel, run, state) {
    this.run = run;
    this.state = state;
    this.views = [];
    this.field = composer("Prompt for all columns", () => this.send(), (text) => state.set({ prompt: text }, { isNew: false }));
    this.sendButton = button("Compare", () => this.send(), { class: "strong" });
    this.stopButton = button("Stop", () => this.doing?.abort(), { hidden: true });
    this.addButton = button("Add a column", () => this.add(), { class: "plain" });
    this.columns = html("div", { class: "columns" });
    this.trouble = html("div", {});
    panel.append(
      html("div", { class: "composer" }, this.field, html("div", { class: "buttons" }, this.addButton, this.stopButton, this.sendButton)),
      examples(run.result, (prompt) => state.set({ prompt }, { isNew: false })) ?? "",
      this.trouble, this.columns,
    );
    state.listen((values, before) => this.follow(values, before));
  }

  // Without columns in the address: each end of the front, and the place that was chosen.
  get chosen() {
    const { columns, method, tradeoff } = this.state.values;
    if (columns) return columns;
    const n = this.run.names.length;
    if (n === 1) return [tradeoff, tradeoff].map((t) => ({ method, tradeoff: t }));
    return [corner(n, 0), rounded(tradeoff), corner(n, n - 1)].map((t) => ({ method, tradeoff: t }));
  }

  follow(values, before) {
    if (values.prompt !== before.prompt && values.prompt !== this.field.value) this.field.value = values.prompt;
    const wanted = JSON.stringify(this.chosen);
    if (wanted !== this.drawn) this.draw(wanted);
  }

  change(columns, isNew = true) {
    this.drawn = JSON.stringify(columns);
    this.state.set({ columns }, { isNew });
  }

  add() {
    const { method, tradeoff } = this.state.values;
    this.doing?.abort();
    this.state.set({ columns: [...this.chosen, { method, tradeoff }] });
    this.columns.lastElementChild.querySelector("select, input").focus();
  }

  draw(wanted) {
    this.doing?.abort();
    this.drawn = wanted;
    const columns = this.chosen;
    this.slots = columns.map((column, i) => this.column(column, i, columns.length));
    clear(this.columns, this.slots.map((slot) => slot.node));
    this.addButton.disabled = columns.length >= MOST;
  }

  column(column, i, n) {
    const { names, methods } = this.run;
    const title = html("h3", {}, inWords(names, column.tradeoff));
    const put = (changes, isNew) => {
      const columns = this.chosen.map((other, k) => (k === i ? { ...other, ...changes } : other));
      this.change(columns, isNew);
      sliders.put(columns[i].tradeoff);
      title.textContent = inWords(names, columns[i].tradeoff);
    };
    const sliders = new Sliders(names, (tradeoff) => put({ tradeoff }, false));
    sliders.put(column.tradeoff);
    const select = html(
      "select", { "aria-label": `Method of column ${i + 1}`, onchange: () => put({ method: select.value }, true) },
      methods.map((name) => html("option", { value: name, selected: name === column.method }, name)),
    );
    const drop = button("×", () => {
      this.state.set({ columns: this.chosen.filter((_, k) => k !== i) });
      this.field.focus();
    }, { class: "plain drop", "aria-label": `Remove column ${i + 1}`, title: "Remove this column", disabled: n <= FEWEST });
    const here = button("Use the chosen place", () => put({ method: select.value = this.state.values.method, tradeoff: this.state.values.tradeoff }, true), { class: "plain" });
    const body = html("div", { class: "answer" });
    const node = html(
      "section", { class: "column", "aria-label": `Column ${i + 1}` },
      title, html("div", { class: "bar" }, select, drop), sliders.node, here, body,
    );
    return { node, body };
  }

  async send() {
    const text = this.field.value.trim();
    if (!text || this.doing) return;
    this.doing = new AbortController();
    const doing = this.doing;
    this.busy(true);
    clear(this.trouble);
    say("Replies begin.");
    const shared = settings();
    const slots = this.slots;
    const views = await Promise.all(this.chosen.map((column, i) => this.one(column, slots[i].body, text, shared, doing)));
    this.doing = null;
    this.busy(false);
    if (doing.signal.aborted) return;
    say(`Replies are there: ${views.map((view, i) => `column ${i + 1}: ${view?.raw ?? "failed"}`).join("; ")}`);
    await this.judge(text, views.filter(Boolean));
  }

  busy(isBusy) {
    const hadFocus = [this.sendButton, this.stopButton].includes(document.activeElement);
    this.sendButton.hidden = isBusy;
    this.stopButton.hidden = !isBusy;
    if (hadFocus) (isBusy ? this.stopButton : this.sendButton).focus();
  }

  // One column; what goes wrong in it is said in it, and the others go on.
  async one({ method, tradeoff }, body, text, shared, doing) {
    const view = new ReplyView(this.run.names);
    clear(body, view.node);
    try {
      const isWhole = await view.run({
        model: `${this.run.result.name}/${method}`, messages: [{ role: "user", content: text }],
        preference: named(this.run.names, tradeoff), ...shared,
      }, doing.signal);
      return isWhole ? view : null;
    } catch (error) {
      clear(body, view.raw ? view.node : null, notice(error, () => this.send()));
      return null;
    }
  }

  async judge(prompt, views) {
    if (!views.length || this.hasNoScorers) return;
    try {
      const found = await ask("api/rewards", { method: "POST", body: { prompt, replies: views.map((view) => view.raw) } });
      const best = found.objectives.map((_, i) => Math.max(...found.rewards.map((row) => row[i])));
      const isTold = (row, i) => views.length > 1 && row[i] === best[i] && found.rewards.some((other) => other[i] < best[i]);
      views.forEach((view, k) => {
        const row = found.rewards[k];
        view.node.append(rewardBars(found.objectives, row, found.unit[k], row.map((_, i) => isTold(row, i))));
      });
    } catch (error) {
      if ([404, 422].includes(error.status)) {
        // A run without scorers has none for the next prompt either; a world knows its own prompts.
        this.hasNoScorers = error.status === 404;
        const told = error.message === "Not Found" ? "this server has no scorers" : error.message;
        clear(this.trouble, html("p", { class: "quiet" }, `No rewards beside the replies: ${told}`));
      } else {
        clear(this.trouble, notice(error, () => this.judge(prompt, views)));
      }
    }
  }
}
