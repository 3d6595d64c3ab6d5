import pytest
import torch

from unwarp.tasks.machine import machine


def test_the_machine_is_the_device_that_worked(monkeypatch: pytest.MonkeyPatch) -> None:
    processor = machine("cpu")["machine"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"a GPU, {device}")
    assert machine("cpu")["machine"] == processor
    assert machine(torch.device("cuda", 1))["machine"] == "a GPU, cuda:1"
