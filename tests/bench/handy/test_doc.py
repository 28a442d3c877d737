import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "explanation" / "handy.md"


def test_the_example_of_the_page_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(code.strip().splitlines()) <= 20
    exec(compile(code, str(PAGE), "exec"), {})
    printed = capsys.readouterr().out
    assert re.search(r"reached 2[3-5]% of the attainable", printed), printed
    assert "one policy can reach 0.482, 11 can 0.768" in printed
