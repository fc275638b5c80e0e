"""Checksum files, streams, builds and names: what publishers write, and what kvmrun makes of it."""

import hashlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.table import each

from kvmrun.model.image import streams
from kvmrun.model.image.catalogue_entry import CatalogueEntry, Fingerprint, Release, Url, is_image_name
from kvmrun.model.image.image_digest import Digest, digest_of, listed_digests
from kvmrun.model.image.version_order import newest_build, version_key
from kvmrun.model.scalars import OneLine

ONE, TWO = (hashlib.sha256(text).hexdigest() for text in (b"1", b"2"))
LONG = hashlib.sha512(b"1").hexdigest()


def test_a_digest_knows_its_algorithm() -> None:
    for text in (ONE, f"sha256:{ONE}", f"sha256={ONE.upper()}"):
        assert Digest.parse(text) == f"sha256:{ONE}"
    assert Digest.parse(LONG).algorithm == "sha512"
    assert Digest.parse(ONE).stem == f"sha256-{ONE}"
    for wrong in ("", "md5:d41d8cd98f00b204e9800998ecf8427e", ONE[1:], f"sha512:{ONE}", "x" * 64, f"{ONE}/..", None, 7):
        with pytest.raises(ValueError, match="a digest"):
            Digest.parse(wrong)


def test_every_usual_form_of_a_checksum_file() -> None:
    def check(case: tuple[str, str | None]) -> None:
        text, wanted = case
        assert digest_of(text, "a.qcow2") == (wanted and Digest.parse(wanted))

    each(
        [
            (f"{ONE}  a.qcow2\n", ONE),
            (f"{ONE} *a.qcow2\r\n", ONE),
            (f"{ONE}  ./images/a.qcow2\n", ONE),
            (f"SHA256 (a.qcow2) = {ONE}\n", ONE),
            (f"{TWO}  b.qcow2\n{ONE}  a.qcow2\n", ONE),
            (f"{ONE}\n", ONE),
            (f"{ONE}  a.qcow2\n{LONG}  a.qcow2\n", LONG),
            (f"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n# a: 1 bytes\nSHA256 (a.qcow2) = {ONE}\n", ONE),
            (f"{ONE}  a.qcow2\n{ONE}  a.qcow2\n", ONE),
            (f"{ONE}  a.qcow2\n{TWO}  a.qcow2\n", None),
            (f"{ONE}\n{TWO}\n", None),
            (f"{ONE}  a.qcow2.asc\n", None),
            (f"{ONE}  b.qcow2\n{TWO}\n", None),
            (f"MD5 (a.qcow2) = {ONE[:32]}\n", None),
            ("", None),
        ],
        check,
    )


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    assert all(one.digest.algorithm in {"sha256", "sha512"} for one in listed_digests(text))


def test_numbers_in_builds_are_numbers() -> None:
    assert version_key("3.23.10-r1") > version_key("3.23.9-r2")
    page = '<a href="a-3.23.9-r0.qcow2"> a-3.23.10-r0.qcow2 a-3.23.10-r0.qcow2.sha512 b-4-r0.qcow2'
    assert newest_build(page, r"a-([\d.]+-r\d+)\.qcow2") == "3.23.10-r0"
    assert newest_build(page, r"c-(\d+)") == ""


@given(st.lists(st.text(alphabet="0123456789.-r"), min_size=2))
def test_builds_can_be_sorted(builds: list[str]) -> None:
    ordered = sorted(builds, key=version_key)
    assert max(builds, key=version_key) in ordered
    assert version_key(ordered[0]) <= version_key(ordered[-1])


KEYS = ["products", "versions", "items", "p", "disk1.img", "path", "sha256", "architectures", "x86_64"]
DOCUMENTS = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS), inner),
)


@given(DOCUMENTS)
def test_no_document_is_more_than_refused(document: object) -> None:
    for read in (streams.coreos_image, lambda found: streams.simplestreams_image(found, "p", "disk1.img")):
        with suppress(streams.StreamError):
            assert read(document).digest


def test_a_path_does_not_leave_the_stream() -> None:
    item = {"path": "../../x", "sha256": ONE}
    document = {"products": {"p": {"versions": {"1": {"items": {"disk1.img": item}}}}}}
    with pytest.raises(streams.StreamError, match="gives no path"):
        streams.simplestreams_image(document, "p", "disk1.img")


def test_names_and_addresses() -> None:
    assert all(map(is_image_name, ("debian:13", "apt:bookworm", "url:x_1.2-3")))
    assert not any(map(is_image_name, ("debian", "debian:", ":13", "Debian:13", "a/b:1", "a:b/c", "http://x", "a:b:c")))
    for wrong in ("file:///x", "http://", "https://user:pw@host/x", "https://a b/", "ftp://x/y", "https://[::1", 7, ""):
        with pytest.raises(ValueError, match="an address"):
            Url.parse(wrong)
    assert Fingerprint.parse("abcd " * 10) == "ABCD" * 10


ENTRY = CatalogueEntry(
    title=OneLine("Toy"),
    url=Url("https://toy.example/{codename}/{release}"),
    releases={"13": Release(codename=OneLine("trixie")), "12": Release(codename=OneLine("bookworm"))},
)


def test_a_release_has_two_names_and_many_misspellings() -> None:
    assert ENTRY.release_named("") == ENTRY.release_named("13") == ENTRY.release_named("trixie") == "13"
    assert ENTRY.release_named("14") == ""
    words = {"trixy": "trixie", "bokworm": "bookworm", "boowkorm": "bookworm", "14": "", "sid": ""}
    for typed, meant in words.items():
        assert ENTRY.nearest_release(typed) == meant
    assert ENTRY.filled(ENTRY.url, "13") == "https://toy.example/trixie/13"


def test_an_entry_says_what_it_lacks() -> None:
    def check(case: tuple[CatalogueEntry, str]) -> None:
        entry, key = case
        assert [one for one, _ in entry.problems()] == [key]

    assert list(ENTRY.problems()) == []
    each(
        [
            (ENTRY.replace(releases={}), "releases"),
            (ENTRY.replace(build=OneLine("x")), "index"),
            (ENTRY.replace(index=ENTRY.url), "build"),
            (ENTRY.replace(reader="simplestreams"), "product"),
            (ENTRY.replace(signature=OneLine("inline")), "keyring"),
            (ENTRY.replace(signature=OneLine("inline"), keyring=OneLine("/k")), "keyring"),
        ],
        check,
    )
