"""The models that the explorer offers by name. Any other hub id or folder can be typed in."""

from dataclasses import dataclass

DEMO = "demo"
"""The name of the model that ships with this code."""


@dataclass(frozen=True)
class CatalogueEntry:
    """One model that is known to work, with what a person needs to choose it.

    The sizes come from its configuration, `heads` and the fields below from its Mamba-2 mixers. They are
    None for the embedded model, whose configuration lies next to its weights and needs no network.
    """

    name: str
    """The name for `load_bridge`."""
    label: str
    note: str
    parameters: int | None = None
    layers: int | None = None
    """All layers; in a hybrid some may have no mixer."""
    hidden: int | None = None
    heads: int | None = None
    head_dim: int | None = None
    state: int | None = None
    groups: int | None = None


def _mamba2_hf(size: str, parameters: int, layers: int, hidden: int, heads: int) -> CatalogueEntry:
    """Describe one of the five Mamba-2 models trained on the Pile, which differ in these sizes only."""
    return CatalogueEntry(
        name=f"AntonV/mamba2-{size}-hf",
        label=f"Mamba-2 {size.upper()}",
        note="The Mamba authors' model, trained on the Pile, in the Hugging Face format.",
        parameters=parameters,
        layers=layers,
        hidden=hidden,
        heads=heads,
        head_dim=64,
        state=128,
        groups=1,
    )


CATALOGUE: tuple[CatalogueEntry, ...] = (
    CatalogueEntry(
        name=DEMO,
        label="Demo (built in)",
        note="A small model that ships with the explorer: no download, no network.",
    ),
    _mamba2_hf("130m", 128_989_632, 24, 768, 24),
    _mamba2_hf("370m", 368_346_624, 48, 1024, 32),
    _mamba2_hf("780m", 780_161_280, 48, 1536, 48),
    _mamba2_hf("1.3b", 1_343_757_312, 48, 2048, 64),
    _mamba2_hf("2.7b", 2_702_599_680, 64, 2560, 80),
    CatalogueEntry(
        name="mistralai/Mamba-Codestral-7B-v0.1",
        label="Mamba-Codestral 7B",
        note="Mistral's Mamba-2 model for program code, with eight groups per layer.",
        parameters=7_285_403_648,
        layers=64,
        hidden=4096,
        heads=128,
        head_dim=64,
        state=128,
        groups=8,
    ),
    CatalogueEntry(
        name="ibm-granite/granite-4.0-h-350m",
        label="Granite 4.0 H 350M",
        note="IBM's small hybrid: softmax attention in 4 of 32 layers, Mamba-2 in the others.",
        parameters=340_332_224,
        layers=32,
        hidden=768,
        heads=48,
        head_dim=32,
        state=128,
        groups=1,
    ),
    CatalogueEntry(
        name="tiiuae/Falcon-H1-0.5B-Base",
        label="Falcon-H1 0.5B",
        note="TII's hybrid: Mamba-2 and softmax attention side by side in every layer.",
        parameters=521_411_104,
        layers=36,
        hidden=1024,
        heads=24,
        head_dim=64,
        state=128,
        groups=1,
    ),
    CatalogueEntry(
        name="Zyphra/Zamba2-1.2B",
        label="Zamba2 1.2B",
        note="Zyphra's hybrid: Mamba-2 in every layer, and before 6 of 38 one and the same transformer.",
        parameters=1_215_064_704,
        layers=38,
        hidden=2048,
        heads=64,
        head_dim=64,
        state=128,
        groups=1,
    ),
    CatalogueEntry(
        name="ibm-granite/granite-4.0-h-1b",
        label="Granite 4.0 H 1B",
        note="IBM's hybrid: softmax attention in 4 of 40 layers, Mamba-2 in the others.",
        parameters=1_461_538_368,
        layers=40,
        hidden=1536,
        heads=48,
        head_dim=64,
        state=128,
        groups=1,
    ),
    CatalogueEntry(
        name="ibm-ai-platform/Bamba-9B-v2",
        label="Bamba 9B v2",
        note="A hybrid of IBM and universities: softmax attention in 3 of 32 layers, Mamba-2 in the others.",
        parameters=9_780_235_392,
        layers=32,
        hidden=4096,
        heads=128,
        head_dim=64,
        state=128,
        groups=1,
    ),
    CatalogueEntry(
        name="nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16",
        label="Nemotron 3 Nano 30B",
        note="NVIDIA's hybrid: 23 layers of Mamba-2, 6 of softmax attention, and 23 of experts between them.",
        parameters=31_577_937_344,
        layers=52,
        hidden=2688,
        heads=64,
        head_dim=64,
        state=128,
        groups=8,
    ),
)
"""The models to choose from: the embedded one, pure Mamba-2 models, then hybrids; from small to large."""
