// The same prompt for two to four trade-offs or methods, side by side, with their rewards.
import { Column, isSameColumn } from "./column.js";
import { ask } from "./server.js";
import { button, clear, composer, examples, notice, rewardBars, say, settings } from "./parts.js";

const { html, corner, rounded } = paretoFront;
const [FEWEST, MOST] = [2, 4];

export class Compare {
  constructor(panel, run, state) {
    this.run = run;
    this.state = state;
    this.slots = [];
    this.field = composer("Prompt for all columns", () => this.send(), (text) => state.set({ prompt: text }, { isNew: false }));
    this.sendButton = button("Compare", () => this.send(), { class: "strong" });
    this.stopButton = button("Stop", () => this.stop(), { hidden: true });
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
    this.draw();
  }

  stop() {
    this.isStopped = true;
    for (const slot of this.slots) slot.stop();
  }

  add() {
    const { method, tradeoff } = this.state.values;
    this.state.set({ columns: [...this.chosen, { method, tradeoff }] });
    this.columns.lastElementChild.querySelector("select, input").focus();
  }

  remove(slot) {
    this.slots = this.slots.filter((other) => other !== slot);
    slot.remove();
    this.state.set({ columns: this.slots.map(({ column }) => column) });
    this.field.focus();
  }

  change(slot, column, isNew) {
    slot.put(column);
    this.state.set({ columns: this.slots.map((one) => one.column) }, { isNew });
  }

  // What is chosen as before keeps its answer, whether it is there or on its way.
  draw() {
    const [columns, left, found] = [this.chosen, new Set(this.slots), []];
    const take = (isWanted) => columns.forEach((column, i) => {
      found[i] ??= [...left].find((slot) => isWanted(slot, column, i));
      left.delete(found[i]);
    });
    const isHere = (slot, _, i) => slot === this.slots[i];
    const isAsBefore = (slot, column) => isSameColumn(slot.column, column);
    take((slot, column, i) => isHere(slot, column, i) && isAsBefore(slot, column));
    take(isAsBefore);
    take(isHere);
    for (const slot of left) slot.remove();
    this.slots = columns.map((column, i) => found[i] ?? this.slot(column));
    this.slots.forEach((slot, i) => {
      slot.put(columns[i]);
      slot.place(i, columns.length <= FEWEST);
      // A node that is put where it is already would lose the focus.
      if (this.columns.children[i] !== slot.node) this.columns.insertBefore(slot.node, this.columns.children[i] ?? null);
    });
    this.addButton.disabled = columns.length >= MOST;
  }

  slot(column) {
    const slot = new Column(this.run, column, {
      changed: (wanted, isNew) => this.change(slot, wanted, isNew),
      dropped: () => this.remove(slot),
      here: () => ({ method: this.state.values.method, tradeoff: this.state.values.tradeoff }),
    });
    return slot;
  }

  async send() {
    const text = this.field.value.trim();
    if (!text || this.isBusy) return;
    this.isStopped = false;
    this.busy(true);
    clear(this.trouble);
    say("Replies begin.");
    const [shared, slots] = [settings(), this.slots];
    // From here on the columns are those that are answered, wherever the handle goes.
    this.state.set({ columns: this.chosen }, { isNew: false });
    const views = await Promise.all(slots.map((slot) => slot.answer(text, shared, () => this.send())));
    this.busy(false);
    if (this.isStopped) return;
    const shown = this.slots.map((slot) => views[slots.indexOf(slot)]);
    say(`Replies are there: ${shown.map((view, i) => `column ${i + 1}: ${view?.raw ?? "none"}`).join("; ")}`);
    await this.judge(text, shown.filter(Boolean));
  }

  busy(isBusy) {
    this.isBusy = isBusy;
    const hadFocus = [this.sendButton, this.stopButton].includes(document.activeElement);
    this.sendButton.hidden = isBusy;
    this.stopButton.hidden = !isBusy;
    if (hadFocus) (isBusy ? this.stopButton : this.sendButton).focus();
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
