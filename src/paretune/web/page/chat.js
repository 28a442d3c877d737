// A conversation; every reply is given for the trade-off of the moment it is asked for.
import { ReplyView, button, clear, composer, examples, named, notice, say, settings } from "./parts.js";

const { html } = paretoFront;

export class Chat {
  constructor(panel, run, state) {
    this.run = run;
    this.state = state;
    this.turns = [];
    this.takesTurns = true;
    this.log = html("ol", { class: "log", "aria-label": "Conversation", tabindex: "0" });
    this.field = composer("Message", () => this.send(), (text) => state.set({ prompt: text }, { isNew: false }));
    this.sendButton = button("Send", () => this.send(), { class: "strong" });
    this.stopButton = button("Stop", () => this.stop(), { hidden: true });
    this.newButton = button("New conversation", () => this.begin(), { class: "plain", hidden: true });
    this.hint = html("p", { class: "quiet hint", hidden: true }, "The base of this run knows no conversations: each message is sent alone.");
    this.empty = html(
      "div", { class: "empty" },
      html("p", {}, "Choose a trade-off, say something, and move on: the next reply follows the new place."),
      examples(run.result, (prompt) => { this.write(prompt); this.field.focus(); }),
    );
    panel.append(
      this.empty, this.log, this.hint,
      html("div", { class: "composer" }, this.field, html("div", { class: "buttons" }, this.newButton, this.stopButton, this.sendButton)),
    );
    this.log.hidden = true;
    // A reply that grows is followed as long as its end is in sight.
    this.log.addEventListener("grown", () => { if (this.isAtEnd) this.log.scrollTop = this.log.scrollHeight; });
    this.log.addEventListener("scroll", () => {
      this.isAtEnd = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 40;
    });
    panel.addEventListener("keydown", (event) => { if (event.key === "Escape" && this.doing) this.stop(); });
    state.listen(({ prompt }, before) => { if (prompt !== before.prompt && prompt !== this.field.value) this.field.value = prompt; });
  }

  write(text) {
    this.field.value = text;
    this.state.set({ prompt: text }, { isNew: false });
  }

  begin() {
    this.stop();
    this.turns = [];
    clear(this.log);
    this.show();
    this.field.focus();
  }

  stop() {
    this.doing?.abort();
  }

  show() {
    const isBusy = Boolean(this.doing);
    this.sendButton.hidden = isBusy;
    this.stopButton.hidden = !isBusy;
    this.newButton.hidden = isBusy || !this.log.children.length;
    this.empty.hidden = this.log.children.length > 0;
    this.log.hidden = !this.empty.hidden;
    this.hint.hidden = this.takesTurns;
  }

  async send() {
    const text = this.field.value.trim();
    if (!text || this.doing) return;
    this.write("");
    this.log.append(html("li", { class: "mine" }, html("div", { class: "said", dir: "auto" }, text)));
    await this.answer(text);
  }

  async answer(text) {
    const view = new ReplyView(this.run.names);
    const item = html("li", { class: "theirs" }, view.node);
    this.log.append(item);
    this.isAtEnd = true;
    this.log.scrollTop = this.log.scrollHeight;
    this.doing = new AbortController();
    const hadFocus = document.activeElement;
    this.show();
    if (hadFocus === this.sendButton) this.stopButton.focus();
    say("The reply begins.");
    try {
      const isWhole = await this.ask(view, text);
      // A turn without a word is none that a template knows, nor are two of one role in a row.
      if (view.raw.trim()) this.turns.push({ role: "user", content: text }, { role: "assistant", content: view.raw });
      say(isWhole ? `The reply: ${view.raw}` : "The reply was stopped.");
    } catch (error) {
      if (!view.raw) item.remove();
      const trouble = html("li", {}, notice(error, () => { trouble.remove(); this.answer(text); }));
      this.log.append(trouble);
      this.log.scrollTop = this.log.scrollHeight;
    } finally {
      this.doing = null;
      const hadStop = document.activeElement === this.stopButton;
      this.show();
      if (hadStop) this.field.focus();
    }
  }

  async ask(view, text) {
    const { method, tradeoff, user } = this.state.values;
    const wish = user ? { user } : { preference: named(this.run.names, tradeoff) };
    const said = { role: "user", content: text };
    const body = (messages) => ({ model: `${this.run.result.name}/${method}`, messages, ...wish, ...settings() });
    const signal = this.doing.signal;
    const turns = this.takesTurns ? this.turns : [];
    try {
      return await view.run(body([...turns, said]), signal);
    } catch (error) {
      if (error.status !== 422 || !turns.length || !error.message.includes("no chat template")) throw error;
      this.takesTurns = false;
      view.node.setAttribute("aria-busy", "true");
      return view.run(body([said]), signal);
    }
  }
}
