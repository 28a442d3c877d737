import numpy as np

from paretune.pipeline.replies import Drawn, read_replies, write_replies


def test_replies_survive_with_every_line_end_that_unicode_knows(tmp_path):
    texts = ["a\u2028b", "c\u0085d", "e\nf\r\ng", "\x0bh\x1c", ""]
    drawn = Drawn(np.arange(5), texts, n_tokens=9, seconds=0.1)
    rewards = np.arange(10.0).reshape(5, 2)
    write_replies(tmp_path / "r.jsonl", drawn, rewards, ("x", "y"))
    found = read_replies(tmp_path / "r.jsonl", ("y", "x"))
    assert found["texts"] == texts
    np.testing.assert_array_equal(found["prompt_of"], np.arange(5))
    np.testing.assert_array_equal(found["rewards"], rewards[:, ::-1])
    assert found["well_formed"] is None
