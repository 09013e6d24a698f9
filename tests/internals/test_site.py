"""One grammar of sites: what is read, what is refused, what a star stands for."""

from __future__ import annotations

import pytest

from crossworld.errors import DesignError, SpecError
from crossworld.internals.site import Site, sites


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("layers.3.mlp@-1", "layers.3.mlp @ -1"),
        (" layers.3.resid  @ 2 : 5 ", "layers.3.resid @ 2:5"),
        ("layers.3.heads.5", "layers.3.heads.5"),
        ("layers.3.heads.5.pattern @ -1 <- subject", "layers.3.heads.5.pattern @ -1 <- subject"),
        ("layers.3.resid[gender] @ subject[-1]", "layers.3.resid[gender] @ subject[-1]"),
        ("conv1.channels.3", "conv1.channels.3"),
    ],
)
def test_a_site_round_trips(text: str, canonical: str) -> None:
    site = Site.parse(text)
    assert str(site) == canonical
    assert Site.parse(str(site)) == site


@pytest.mark.parametrize(
    "text",
    ["", "@ -1", "layers..mlp", "layers.3.mlp @ a b", "layers.3.mlp @ 1.5", "layers.3.mlp <- x",
     "layers.3.mlp @ -1 <- subject", "layers.3.resid[ @ 1"],
)  # fmt: skip
def test_what_is_no_site_is_refused(text: str) -> None:
    with pytest.raises(SpecError):
        Site.parse(text)


def test_parts_of_a_site() -> None:
    site = Site.parse("layers.11.heads.7.k @ 3")
    assert (site.layer, site.head, site.stream, site.unit) == (11, 7, "k", None)
    assert Site.parse("layers.2.mlp.neurons.17").unit == 17
    assert Site.parse("layers.2.heads.1").stream == "z"
    assert Site.parse("conv1").layer is None


def test_no_sites_are_refused() -> None:
    with pytest.raises(SpecError, match="no site was named"):
        sites()


class TestPatterns:
    @pytest.fixture
    def subject(self):
        from crossworld.internals.subject import TorchSubject
        from tests.internals.zoo import model

        return TorchSubject(model("llama"))

    @pytest.mark.parametrize(
        ("pattern", "count"),
        [
            ("layers.*.mlp @ -1", 2),
            ("layers.*.resid_pre @ *", 14),
            ("layers.*.heads.*", 8),
            ("layers.*.heads.*.k", 4),
            ("layers.0.mlp.neurons.*", 64),
            ("model.layers.*.mlp", 2),
        ],
    )
    def test_a_star_stands_for_all_there_are(self, subject, pattern: str, count: int) -> None:
        assert len(subject.sites(pattern, length=7)) == count

    @pytest.mark.parametrize(
        ("site", "told"),
        [
            ("layers.0.mpl", "Did you mean 'layers.0.mlp'"),
            ("layers.9.mlp", "2 layers, 0 to 1"),
            ("layers.0.heads.4", "0 to 3"),
            ("layers.0.heads.3.v", "shared by groups of queries"),
            ("layers.0.mlp.neurons.64", "a layer has 64"),
            ("layers.0.mixer", "no site"),
            ("embedd", "Did you mean 'embed'"),
        ],
    )
    def test_a_site_that_is_not_there_names_the_nearest(self, subject, site, told) -> None:
        with pytest.raises(DesignError) as error:
            subject.sites(site)
        assert told in str(error.value)

    def test_every_position_needs_equal_lengths(self, subject) -> None:
        with pytest.raises(DesignError, match="differ in length"):
            subject.sites("layers.*.mlp @ *")

    def test_a_basis_has_a_name(self, subject) -> None:
        (site,) = subject.sites("layers.0.resid[gender]")
        with pytest.raises(DesignError, match="no subspace or feature is called 'gender'"):
            subject.port(site)
