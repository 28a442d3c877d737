"""What the numbers of a report mean, in words a newcomer understands."""

from __future__ import annotations

GLOSSARY = {
    "points": "Policies measured, one for each trade-off. Fewer points cover less of a front.",
    "hypervolume": "Share of the unit box that the method's average rewards dominate: 1 would be "
    "full marks on every objective at once. Below it the 95% interval over prompts.",
    "of limit": "Hypervolume as a share of what any number of policies could reach on average; "
    "below it, as a share of the most that so many policies could reach.",
    "E[min]": "What one single reply offers: its smallest reward, averaged over replies, of the "
    "method's best point. Answering now one way, now the other does not help here.",
    "of best": "E[min] as a share of the best single reply's.",
    "Chebyshev": "How well single replies serve the trade-off that was asked for: 1 minus the "
    "worst weighted shortfall, averaged over replies and trade-offs.",
    "steers": "Rank correlation of weight and reward for each objective: 1 means that asking for "
    "more always gave more.",
    "distance": "Average distance from the known front down to the method's points (IGD+), in "
    "units of the box; 0 is perfect.",
    "gap": "Widest hole between neighboring points of the front, as a share of all directions "
    "from the ideal corner; 100% means that every point sits at one end.",
    "collapsed": "Replies that broke down: fewer than three words, stuck in a loop, or mostly "
    "repeats. Below it, where there is a grammar, replies that the grammar refuses.",
}
"""Column of a table to its meaning."""

COSTS = {
    "policies": "Policies trained and stored.",
    "training": "CPU seconds of all trainings of the method.",
    "tokens": "Tokens that went through training steps.",
    "rounds": "CPU seconds of replies that the method drew to learn from.",
    "a trade-off": "Cost per preference: training and rounds, divided by the trade-offs that the "
    "method answered for.",
    "answers": "CPU seconds of answering the evaluation prompts, for all trade-offs.",
    "a reply": "CPU seconds of one reply, as a multiple of a reply of the reference policy.",
}
"""Column of the cost table to its meaning."""
