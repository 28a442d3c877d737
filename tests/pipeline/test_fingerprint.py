import json

from paretune.pipeline import fingerprint
from paretune.pipeline.fingerprint import data_identity, file_digest, model_identity


def test_a_large_file_is_told_apart_by_its_samples(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprint, "_SAMPLED", 1 << 10)
    monkeypatch.setattr(fingerprint, "_BLOCKS", 4)
    monkeypatch.setattr(fingerprint, "_BLOCK", 16)
    content = bytes(range(256)) * 8
    file = tmp_path / "weights"
    digests = set()
    # As it is; another first byte, last byte, size; all bytes moved by one.
    for data in (content, b"x" + content[1:], content[:-1] + b"x", content + b"x"):
        file.write_bytes(data)
        digests.add(file_digest(file))
    assert len(digests) == 4
    file.write_bytes(content)
    assert file_digest(file) in digests


def test_every_file_that_shapes_a_model_is_part_of_its_identity(tmp_path):
    for name in ("config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors"):
        (tmp_path / name).write_text("1")
    seen = [model_identity(str(tmp_path))]
    for name in ("config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors"):
        (tmp_path / name).write_text("2")
        seen.append(model_identity(str(tmp_path)))
    assert len({json.dumps(identity) for identity in seen}) == 5
    (tmp_path / "manifest.json").write_text("seconds")
    assert model_identity(str(tmp_path)) == seen[-1]


def test_a_hub_id_is_told_apart_by_its_cached_commit(tmp_path, monkeypatch):
    class Cached:
        _commit_hash = "abc"

    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", lambda *a, **k: Cached())
    assert model_identity("owner/name") == {"hub": "owner/name", "commit": "abc"}

    def gone(*args, **kwargs):
        raise OSError("not reachable")

    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", gone)
    assert model_identity("owner/name") == {"hub": "owner/name", "commit": None}


def test_data_are_told_apart_by_content_also_in_a_folder(tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "a.jsonl").write_text("1")
    one = data_identity(str(folder))
    (folder / "a.jsonl").write_text("2")
    assert data_identity(str(folder)) != one
    assert data_identity(str(folder / "a.jsonl"))["sha256"]
    assert data_identity("owner/name") == {"path": "owner/name", "files": {}}


def test_one_byte_of_a_large_data_file_is_seen(tmp_path):
    file = tmp_path / "rows.jsonl"
    with file.open("wb") as content:
        content.truncate(80_000_000)  # sparse
    before, sampled = data_identity(str(file)), file_digest(file)
    with file.open("r+b") as content:
        content.seek(35_000_001)
        content.write(b"x")
    assert data_identity(str(file)) != before
    assert data_identity(str(tmp_path)) != before
    # The blocks that tell two trainings of a model apart do not show it.
    assert file_digest(file) == sampled
