"""The doors of the experiments: what is wrong with the options is one line and exit code 2, before any work."""

import importlib

import pytest


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("demo", "--seeds 0 -1", "--seeds must be at least 0, but -1"),
        ("posterior.__main__", "--chains 1", "--chains must be at least 2, but 1"),
        ("posterior.__main__", "--samples x", "argument --samples: invalid int value: 'x'"),
        ("forecasting.__main__", "co2 weather", "a task must be of ['co2', 'taxi', 'etth1', 'etth2'], but 'weather'"),
        ("forecasting.__main__", "--seed -1", "--seed must be at least 0, but -1"),
        ("speed.__main__", "train --only 3x3", "--only must be of ['2x650', '2x1500', '1x128'], but '3x3'"),
        ("speed.__main__", "predict --only 3x3", "--only must be of ['100x1', '100x20', '1000x20'], but '3x3'"),
        ("speed.__main__", "train --isa avx2", "--isa is an option of people"),
        ("speed.__main__", "memory --only 3x3", "--only must be of ['10x20', '100x20', '1000x20', '100x256'"),
        ("speed.__main__", "draws --only poem", "--only must be of ['forecaster, hidden states only'"),
        ("penn_treebank.__main__", "--smoke --row third", "but 'third' was given"),
        ("penn_treebank.__main__", "--smoke --device nowhere", "--device must be 'auto', 'cpu'"),
        ("shift_language", "--tokens 0", "--tokens must be at least 2, but 0"),
    ],
)
def test_wrong_options_are_one_line(
    script: str,
    arguments: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BAYESRNN_DATA", "nowhere")
    main = importlib.import_module(f"evaluation.{script}").main
    try:
        code = main(arguments.split())
    except SystemExit as stop:  # argparse leaves in this way
        code = stop.code
    assert code == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
