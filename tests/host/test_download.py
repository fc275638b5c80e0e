"""Downloads from servers that do all sorts of wrong things: the file comes whole and right, or there is an error."""

import hashlib
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.image_server import Answer, Handler, ImageServer, awaited, dripping, image_server, silent

from kvmrun.errors import KvmrunError, Refused, Unresponsive
from kvmrun.host.images import download as module
from kvmrun.host.images import http_client
from kvmrun.host.images.download import Source, download
from kvmrun.host.images.image_store import ImageStore
from kvmrun.model.deadline import NEVER, Deadline
from kvmrun.model.image.image_digest import Digest

BODY = b"QFI\xfb" + bytes(itertools.islice(itertools.cycle(range(251)), 700_000))
RIGHT = Digest.parse(hashlib.sha256(BODY).hexdigest())


@pytest.fixture
def server() -> Iterator[ImageServer]:
    with image_server() as found:
        yield found


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "part"


def get(server: ImageServer, part: Path, answer: bytes | Answer, *, deadline: Deadline = NEVER) -> Digest:
    server.answers["/image.qcow2"] = answer
    source = Source(url=server.url(), digest=RIGHT)
    return download(source, str(part), lambda done, total: None, deadline)


def fails(server: ImageServer, part: Path, answer: bytes | Answer, kind: type[KvmrunError] = KvmrunError) -> str:
    """What is said of a download that must fail, on one line."""
    with pytest.raises(kind) as caught:
        get(server, part, answer)
    error = caught.value
    assert error.fix
    return " ".join((error.message, error.reason, error.fix, *error.lines))


def cut_once(upto: int, etag: str = '"one"') -> Answer:
    times = itertools.count()

    def answer(handler: Handler) -> None:
        handler.serve(BODY, etag, upto=upto if next(times) == 0 else None)

    return answer


def test_the_file_comes_whole_and_reports_its_progress(server: ImageServer, part: Path) -> None:
    seen: list[tuple[int, int]] = []
    server.answers["/image.qcow2"] = BODY
    found = download(Source(url=server.url(), digest=RIGHT), str(part), lambda *now: seen.append(now), NEVER)
    assert found == RIGHT
    assert part.read_bytes() == BODY
    assert seen[0] == (0, len(BODY))
    assert seen[-1] == (len(BODY), len(BODY))
    assert sorted(seen) == seen


def test_a_cut_connection_is_continued_at_the_byte_where_it_was_cut(server: ImageServer, part: Path) -> None:
    assert get(server, part, cut_once(300_001)) == RIGHT
    assert part.read_bytes() == BODY
    assert server.asked == [("/image.qcow2", "", ""), ("/image.qcow2", "bytes=300001-", '"one"')]


def test_the_next_command_continues_and_hashes_the_part_again(server: ImageServer, part: Path) -> None:
    said = fails(server, part, lambda handler: handler.serve(BODY, upto=100_000))
    assert "100000" in said
    assert part.stat().st_size == 100_000
    server.asked.clear()
    assert get(server, part, BODY) == RIGHT
    assert server.asked == [("/image.qcow2", "bytes=100000-", '"one"')]


def test_a_file_that_has_changed_comes_whole_again(server: ImageServer, part: Path) -> None:
    fails(server, part, lambda handler: handler.serve(b"x" * len(BODY), '"old"', upto=200_000))
    assert get(server, part, lambda handler: handler.serve(BODY, '"new"')) == RIGHT
    assert part.read_bytes() == BODY


def test_a_part_without_a_validator_is_not_spliced(server: ImageServer, part: Path) -> None:
    fails(server, part, lambda handler: handler.serve(b"x" * len(BODY), "", upto=200_000))
    server.asked.clear()
    assert get(server, part, BODY) == RIGHT
    assert server.asked == [("/image.qcow2", "", "")]


def test_a_weak_validator_is_not_used(server: ImageServer, part: Path) -> None:
    fails(server, part, lambda handler: handler.serve(BODY, 'W/"one"', upto=200_000))
    server.asked.clear()
    assert get(server, part, BODY) == RIGHT
    assert server.asked == [("/image.qcow2", "", "")]


def test_a_part_of_another_address_is_not_continued(server: ImageServer, part: Path) -> None:
    fails(server, part, lambda handler: handler.serve(b"x" * len(BODY), upto=200_000))
    server.answers["/other.qcow2"] = BODY
    assert download(Source(url=server.url("/other.qcow2"), digest=RIGHT), str(part), lambda *_: None, NEVER) == RIGHT


def test_a_server_without_ranges_sends_all_again(server: ImageServer, part: Path) -> None:
    def without_ranges(handler: Handler) -> None:
        handler.say(200, BODY, {"ETag": '"one"'})

    fails(server, part, lambda handler: handler.serve(BODY, upto=200_000))
    assert get(server, part, without_ranges) == RIGHT
    assert part.read_bytes() == BODY


def test_a_range_that_was_not_asked_for_is_not_taken(server: ImageServer, part: Path) -> None:
    def shifted(handler: Handler) -> None:
        if handler.headers.get("Range"):
            handler.say(206, BODY[7:], {"Content-Range": f"bytes 7-{len(BODY) - 1}/{len(BODY)}"})
        else:
            handler.serve(BODY)

    fails(server, part, lambda handler: handler.serve(BODY, upto=200_000))
    assert get(server, part, shifted) == RIGHT
    assert part.read_bytes() == BODY


def test_a_whole_part_needs_no_byte_more(server: ImageServer, part: Path) -> None:
    get(server, part, BODY)
    assert get(server, part, BODY) == RIGHT
    assert server.asked[-1][1] == f"bytes={len(BODY)}-"


def test_a_part_that_is_longer_than_the_file_is_thrown_away(server: ImageServer, part: Path) -> None:
    get(server, part, BODY)
    part.write_bytes(BODY + b"more")
    assert get(server, part, BODY) == RIGHT
    assert part.read_bytes() == BODY


def test_a_damaged_part_is_found_out_and_thrown_away(server: ImageServer, part: Path) -> None:
    fails(server, part, lambda handler: handler.serve(BODY, upto=200_000))
    part.write_bytes(b"x" * 200_000)
    assert str(RIGHT) in fails(server, part, BODY, Refused)
    assert not part.exists()
    assert get(server, part, BODY) == RIGHT


def test_a_wrong_digest_leaves_no_part(server: ImageServer, part: Path) -> None:
    said = fails(server, part, BODY[:-1] + b"!", Refused)
    assert f"expected {RIGHT}" in said
    assert "received sha256:" in said
    assert list(part.parent.iterdir()) == []


def _page(handler: Handler) -> None:
    handler.say(200, b"<!DOCTYPE html><title>Log in</title>", {"Content-Type": "text/html; charset=utf-8"})


def _page_as_data(handler: Handler) -> None:
    handler.say(200, b"\n <HTML><body>Log in</body></HTML>", {"Content-Type": "application/octet-stream"})


def _endless_redirect(handler: Handler) -> None:
    handler.say(302, b"", {"Location": handler.path})


def _redirect_to_nothing(handler: Handler) -> None:
    handler.say(302, b"", {"Location": "http://127.0.0.1:1/gone"})


def _redirect_elsewhere(handler: Handler) -> None:
    handler.say(302, b"", {"Location": "file:///etc/passwd"})


def _nothing(handler: Handler) -> None:
    handler.close()


def _noise(handler: Handler) -> None:
    handler.wfile.write(b"\x00\x01 this is not HTTP\r\n\r\n")
    handler.close()


def _short(handler: Handler) -> None:
    handler.head(200, len(BODY), {})
    handler.wfile.write(BODY[:1000])
    handler.close()


def _half_a_chunk(handler: Handler) -> None:
    handler.head(200, None, {"Transfer-Encoding": "chunked"})
    handler.wfile.write(b"1000\r\nQFI")
    handler.close()


def _status(code: int) -> Answer:
    return lambda handler: handler.say(code, b"no", {})


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        pytest.param(_page, Refused, "the server sent a web page", id="web page"),
        pytest.param(_page_as_data, Refused, "the server sent a web page", id="web page called data"),
        pytest.param(_endless_redirect, KvmrunError, "redirects without an end", id="redirect loop"),
        pytest.param(_redirect_to_nothing, KvmrunError, "cannot be reached", id="redirect to nothing"),
        pytest.param(_redirect_elsewhere, KvmrunError, "cannot be fetched", id="redirect to a file"),
        pytest.param(_nothing, KvmrunError, "cannot be reached", id="closed at once"),
        pytest.param(_noise, KvmrunError, "cannot be reached", id="no HTTP"),
        pytest.param(_short, KvmrunError, "not received whole", id="wrong length"),
        pytest.param(_half_a_chunk, KvmrunError, "not received whole", id="half a chunk"),
        pytest.param(_status(404), KvmrunError, "status 404", id="404"),
        pytest.param(_status(403), KvmrunError, "status 403", id="403"),
        pytest.param(_status(500), KvmrunError, "try again later", id="500"),
        pytest.param(_status(503), KvmrunError, "try again later", id="503"),
        pytest.param(_status(204), KvmrunError, "status 204", id="204"),
        pytest.param(_status(416), KvmrunError, "status 416", id="416 without a range"),
    ],
)
def test_a_bad_answer_is_an_error(
    server: ImageServer, part: Path, answer: Answer, kind: type[KvmrunError], words: str
) -> None:
    assert words in fails(server, part, answer, kind)
    assert get(server, part, BODY) == RIGHT


def test_a_size_that_was_not_published_is_refused_before_the_download(server: ImageServer, part: Path) -> None:
    server.answers["/image.qcow2"] = BODY
    source = Source(url=server.url(), digest=RIGHT, size=len(BODY) + 1)
    with pytest.raises(Refused):
        download(source, str(part), lambda *_: None, NEVER)


@pytest.mark.parametrize("answer", [dripping(BODY), silent(BODY, 1000)], ids=["a byte at a time", "silent"])
def test_the_limit_ends_a_slow_download_and_the_part_stays(server: ImageServer, part: Path, answer: Answer) -> None:
    server.answers["/image.qcow2"] = answer
    with pytest.raises(Unresponsive) as caught:
        download(Source(url=server.url(), digest=RIGHT), str(part), lambda *_: None, Deadline.begin(0.5))
    kept = part.stat().st_size
    assert 0 < kept < len(BODY)
    assert str(kept) in caught.value.fix
    assert get(server, part, BODY) == RIGHT
    assert server.asked[-1][1] == f"bytes={kept}-"


def test_a_server_that_falls_silent_is_given_up(
    server: ImageServer, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_client, "_READ", 0.3)
    assert "127.0.0.1" in fails(server, part, silent(BODY, 1000), Unresponsive)


def test_too_little_room_is_said_before_anything_is_written(
    server: ImageServer, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = os.statvfs_result((4096, 4096, 1000, 10, 10, 0, 0, 0, 0, 255))
    monkeypatch.setattr(module.os, "statvfs", lambda _: full)
    assert "kvmrun image prune" in fails(server, part, BODY)
    assert part.stat().st_size == 0


def test_a_disk_that_fills_up_keeps_the_part(server: ImageServer, part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: bytes, offset: int, real: Callable[..., int] = os.pwrite) -> int:
        if offset >= 100_000:
            raise OSError(28, "No space left on device")
        return real(fd, data[: 100_000 - offset], offset)

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "pwrite", full)
        assert "kvmrun image prune" in fails(server, part, BODY)
    assert part.stat().st_size == 100_000
    assert get(server, part, BODY) == RIGHT


def test_two_commands_share_one_download(server: ImageServer, tmp_path: Path) -> None:
    held, go_on = threading.Event(), threading.Event()

    def slow(handler: Handler) -> None:
        held.set()
        go_on.wait(20)
        handler.serve(BODY)

    server.answers["/image.qcow2"] = slow
    store = ImageStore(f"{tmp_path}/store")
    found: list[Digest] = []
    waits = threading.Event()

    def fetch() -> None:
        with store.held(RIGHT, NEVER) as part:
            if os.path.exists(f"{part}.done"):
                found.append(RIGHT)
                return
            found.append(download(Source(url=server.url(), digest=RIGHT), part, lambda *_: None, NEVER))
            Path(f"{part}.done").touch()

    def second() -> None:
        held.wait(20)
        waits.set()
        fetch()

    threads = [threading.Thread(target=fetch), threading.Thread(target=second)]
    for thread in threads:
        thread.start()
    awaited(waits.is_set)
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert found == [RIGHT, RIGHT]
    assert len(server.asked) == 1


def test_a_document_is_read_whole_or_not_at_all(server: ImageServer) -> None:
    server.answers["/SUMS"] = b"text"
    assert http_client.fetch_document(server.url("/SUMS"), NEVER) == b"text"
    server.answers["/SUMS"] = lambda handler: handler.serve(b"x" * 1000, upto=10)
    with pytest.raises(KvmrunError, match="SUMS"):
        http_client.fetch_document(server.url("/SUMS"), NEVER)


def test_a_document_without_an_end_is_refused(server: ImageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "_LARGEST", 1000)
    server.answers["/SUMS"] = b"x" * 1001
    with pytest.raises(Refused, match="too long"):
        http_client.fetch_document(server.url("/SUMS"), NEVER)


def test_a_proxy_that_does_not_work_is_named(server: ImageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(KvmrunError, match="proxy"):
        http_client.fetch_document(server.url("/SUMS"), NEVER)
