// Find my trade-off: two replies, a choice, and what it says about the person.
import { ServerError, ask } from "./server.js";
import { button, clear, listed, notice, say, weightScale } from "./parts.js";
import { USER } from "./state.js";
import { Users } from "./users.js";

const { html, inWords, percent, printable, rounded } = paretoFront;
const KEYS = { 1: "first", 2: "second", 0: "same" };
const KINDS = { linear: "the sum of what you get", chebyshev: "what you get least of" };

export class Ask {
  constructor(panel, run, state) {
    this.run = run;
    this.state = state;
    this.panel = panel;
    this.name = html("input", { type: "text", maxlength: 64, autocomplete: "off", spellcheck: "false", value: state.values.user, placeholder: "for example anna" });
    const form = html(
      "form", { class: "who", onsubmit: (event) => { event.preventDefault(); this.begin(this.name.value.trim()); } },
      html("label", {}, html("span", {}, "Your name"), this.name), html("button", { type: "submit", class: "strong" }, "Ask me"),
    );
    this.trouble = html("div", {});
    this.question = html("div", { class: "question" });
    this.estimate = html("section", { class: "estimate", "aria-label": "What your answers say", hidden: true });
    this.users = new Users((user) => this.begin(user), (user) => this.use(user), (user) => this.forget(user));
    panel.append(
      html("p", {}, "Nobody knows what “60 % helpful” means, but everybody recognizes the reply they like. Choose a few times, and the trade-off follows."),
      form, this.trouble, this.question, this.estimate, this.users.node,
    );
    document.addEventListener("keydown", (event) => this.press(event));
    state.listen(({ tab }, before) => { if (tab === "ask" && before.tab !== "ask") this.users.read(); });
  }

  begin(user) {
    if (!USER.test(user)) {
      clear(this.trouble, notice(new ServerError("A name has 1 to 64 letters, digits, dots, dashes and underscores, and is not one or two dots.", 422)));
      this.name.focus();
      return;
    }
    this.name.value = user;
    this.user = user;
    this.fetch(() => ask(`api/users/${user}/question`));
  }

  answer(choice) {
    const { user, current } = this;
    if (this.isBusy || !current?.question) return;
    this.fetch(() => ask(`api/users/${user}/answers`, { method: "POST", body: { question: current.question.id, answer: choice } }));
  }

  async fetch(request) {
    if (this.isBusy) return;
    this.isBusy = true;
    this.question.setAttribute("aria-busy", "true");
    clear(this.trouble);
    try {
      const found = await request();
      this.show(found);
    } catch (error) {
      // Another window of the same person was faster: what is open now is asked.
      if (error.status === 409) this.later = () => this.begin(this.user);
      const told = error.status === 404 && error.message === "Not Found"
        ? new ServerError("This server stores no users.", 404) : error;
      clear(this.trouble, notice(told, () => this.fetch(request)));
    } finally {
      this.isBusy = false;
      this.question.removeAttribute("aria-busy");
      const later = this.later;
      this.later = null;
      later?.();
    }
  }

  press(event) {
    const isTyping = event.target.closest?.("input:not([type=range]), textarea, select, dialog");
    if (this.panel.hidden || isTyping || event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
    if (KEYS[event.key]) {
      event.preventDefault();
      this.answer(KEYS[event.key]);
    }
  }

  show(found) {
    const isNew = this.current?.user !== found.user || this.current?.number !== found.number;
    this.current = found;
    this.showQuestion(found);
    this.showEstimate(found);
    if (isNew) this.follow(found);
    this.users.read();
  }

  showQuestion({ question, number, enough }) {
    if (!question) {
      clear(this.question, html("p", {}, "There is no more to ask."));
      return;
    }
    const heading = html("h3", { tabindex: "-1" }, `Question ${number}: which reply do you like better?`);
    const option = (key, title, reply) => html(
      "article", { class: "option", "aria-label": title },
      html("div", { class: "said", dir: "auto" }, reply),
      button(title, () => this.answer(KEYS[key]), { class: "strong", "aria-keyshortcuts": key }),
    );
    const keyed = (key) => html("kbd", { "aria-hidden": "true" }, key);
    const [first, second] = [option("1", "The first", question.first.reply), option("2", "The second", question.second.reply)];
    const same = button("No difference", () => this.answer("same"), { "aria-keyshortcuts": "0" });
    first.querySelector("button").append(" ", keyed("1"));
    second.querySelector("button").append(" ", keyed("2"));
    same.append(" ", keyed("0"));
    clear(
      this.question, heading, enough ? html("p", { class: "enough" }, "This is enough: more answers would change little. You may go on.") : null,
      html("blockquote", { class: "said", dir: "auto" }, question.prompt),
      html("div", { class: "options" }, first, second), html("div", { class: "middle" }, same),
    );
    heading.focus({ preventScroll: true });
  }

  showEstimate({ user, estimate, served }) {
    const { names } = this.run;
    const rows = names.map((name) => {
      const [value, low, high] = [estimate.tradeoff, estimate.low, estimate.high].map((given) => given?.[name] ?? 0);
      return html(
        "div", { class: "weigh" }, html("span", { class: "pf-name", title: name }, name), weightScale(value, low, high),
        html("span", { class: "amount" }, html("b", {}, percent(Math.round(100 * value) / 100)), ` [${Math.round(100 * low)}–${Math.round(100 * high)} %]`),
      );
    });
    const facts = [];
    if (Number.isFinite(estimate.loss)) facts.push(`Not knowing you better costs about ${percent(estimate.loss)} of what is possible.`);
    const kinds = Object.entries(estimate.utility ?? {}).sort((a, b) => b[1] - a[1]);
    if (kinds.length > 1) facts.push(`You seem to go by ${kinds.map(([kind, share]) => `${KINDS[kind] ?? kind} (${Math.round(100 * share)} %)`).join(" or ")}.`);
    clear(
      this.estimate, html("h3", {}, "What your answers say"), html("p", { class: "quiet" }, "Weights with 90 % intervals."), rows,
      html("p", { class: "quiet" }, `Served to you: ${inWords(names, listed(names, served.tradeoff))}, by ${served.method}. ${facts.join(" ")}`),
      button("Use it", () => this.use(user), { class: "strong" }),
    );
    this.estimate.hidden = false;
  }

  // The handle goes where this person would be served.
  follow({ number, served }) {
    const { names, methods } = this.run;
    const tradeoff = rounded(listed(names, served.tradeoff));
    const method = methods.includes(served.method) ? served.method : this.state.values.method;
    this.state.move(tradeoff, { method, user: "" });
    say(`Question ${number}. Served to you now: ${printable(inWords(names, tradeoff))}`);
  }

  use(user) {
    const method = this.current?.user === user ? this.current.served.method : null;
    this.state.set({ tab: "chat", user, ...(this.run.methods.includes(method) ? { method } : {}) });
    document.getElementById("tab-chat").focus();
  }

  forget(user) {
    if (this.state.values.user === user) this.state.set({ user: "" });
    if (this.current?.user !== user) return;
    this.current = null;
    clear(this.question);
    this.estimate.hidden = true;
  }
}
