"""docs/PROVIDERS.md says of each fault what the tests see."""

from tests.contract.catalogue import PAGE, with_catalogue


def test_the_page_shows_the_catalogue_as_it_is() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert with_catalogue(page) == page, "run `python -m tests.contract.catalogue` and commit docs/PROVIDERS.md"
