"""The catalogue that comes with kvmrun: every entry can be resolved, and none believes what comes over HTTP."""

import re
from pathlib import Path

import pytest
from support.table import each

from kvmrun.config.image import catalogue_file, images_file
from kvmrun.config.image.catalogue_file import shipped_catalogue
from kvmrun.errors import ConfigError
from kvmrun.model.image.image_digest import Digest
from kvmrun.model.image.pinned_image import PinnedImage
from kvmrun.model.scalars import OneLine


def test_every_release_has_addresses_without_a_gap() -> None:
    def check(name: str) -> None:
        entry = shipped_catalogue()[name]
        for release in entry.releases:
            build = "1.2-3" if entry.build else ""
            for pattern in filter(None, (entry.url, entry.index, entry.sums, entry.signed_url)):
                filled = entry.filled(pattern, release, build)
                assert filled.startswith("https://"), filled
                assert not set("{} ") & set(filled), filled
            pattern = entry.filled(entry.build, release)
            assert not pattern or re.compile(pattern).groups == 1
            assert entry.sums or entry.reader
            assert entry.user
            assert not entry.signature or entry.keys(release)

    each(shipped_catalogue(), check)


def test_the_publishers_that_people_expect() -> None:
    wanted = "almalinux alpine arch centos coreos debian fedora freebsd opensuse rocky ubuntu"
    assert sorted(shipped_catalogue()) == wanted.split()


def test_an_entry_of_the_lab_hides_that_of_the_user_and_this_one_ours(tmp_path: Path) -> None:
    def written(file: str, title: str) -> str:
        text = f'[catalogue.debian]\ntitle = "{title}"\nurl = "https://x.example/"\nreleases = {{1 = {{}}}}\n'
        (tmp_path / file).write_text(text)
        return str(tmp_path / file)

    nothing = images_file.ImagesFile()
    user = written("catalogue.toml", "user")
    own = catalogue_file.read_images_file(written("images.toml", "lab"))
    assert catalogue_file.catalogue(nothing, str(tmp_path / "none"))["debian"].title == "Debian"
    assert catalogue_file.catalogue(nothing, user)["debian"].title == "user"
    assert catalogue_file.catalogue(own, user)["debian"].title == "lab"


@pytest.mark.parametrize(
    "text",
    [
        "[catalogue.x]\n",
        '[catalogue.x]\ntitle = "x"\nurl = "ftp://x/"\n',
        '[catalogue.X]\ntitle = "x"\nurl = "https://x/"\nreleases = {1 = {}}\n',
        '[catalogue.apt]\ntitle = "x"\nurl = "https://x/"\nreleases = {1 = {}}\n',
        '[catalogue.x]\ntitle = "x"\nurl = "https://x/"\nreleases = {1 = {}}\nbuild = "x"\n',
        '[pin.x]\nsource = "x"\n',
        "pin = 1\n",
        "[",
    ],
)
def test_what_is_wrong_in_a_catalogue_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "catalogue.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        catalogue_file.read_images_file(str(tmp_path / "catalogue.toml"))
    assert caught.value.lines


def test_pins_come_and_go_and_the_rest_stays() -> None:
    pin = PinnedImage(source=OneLine("https://x/"), digest=Digest.parse("a" * 64), verified="checksum", kernel=True)
    mine = '# mine\n[catalogue.x]\ntitle = "x" # [pin."a:1"]\n'
    one = images_file.with_pin(mine, "a:1", pin)
    two = images_file.with_pin(one, "b:2", pin.replace(kernel=False))
    assert two.startswith(mine)
    assert two.count("[pin.") == 3
    assert "kernel = true" in two
    assert images_file.with_pin(images_file.with_pin(two, "a:1", None), "b:2", None) == mine
    assert images_file.with_pin(one, "a:1", pin) == one
    assert images_file.with_pin("", "a:1", pin).startswith("# The images that guests of this lab use.")
