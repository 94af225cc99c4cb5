"""Cards: the panel's verdicts on a pair, and who may vote in a panel."""

from ebm_refine.models.model_card import model_card

DATA = {"shape": [3, 32, 32], "range": [-1, 1], "dataset": "cifar10"}


def test_a_pair_s_card_tells_the_verdicts():
    row = {"method": "langevin", "setting": "eps 0.1", "word": "open", "reason": "0 of 3 | voting kinds"}
    judged = {"panel": "cifar10-panel", "fingerprint": "ab" * 32, "num_images": 2000, "real_images": 5000, "split": "test"}
    card = model_card({"name": "mine", "kind": "pair", "data": DATA, "evidence": {**judged, "rows": [row]}})
    assert "## Is it better?" in card
    assert "| langevin | eps 0.1 | **open** | 0 of 3 \\| voting kinds |" in card
    assert "`cifar10-panel` (abababababab" in card
    assert "Is it better" not in model_card({"name": "mine", "kind": "pair", "data": DATA})


def test_a_panel_s_card_tells_who_may_vote_and_which_test_was_failed():
    tests = {
        "blur": {"passed": True, "ends": 12.34},
        "noise": {"passed": False, "ends": 1.9},
        "base": {"passed": True, "value": 0.5, "error": 0.1},
    }
    config = {"name": "cifar10-panel", "kind": "features", "data": DATA, "rights": {"pixels": {"votes": False, "tests": tests}}}
    card = model_card(config)
    assert "| kind | votes | blur | noise | base |" in card
    assert "| pixels | no | 12.3 | 1.9 * | 5.0 |" in card
    assert 'ebm_refine.panel(before, after, dataset="cifar10")' in card
    assert "evidence panel" in card
