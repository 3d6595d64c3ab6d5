"""`unwarp evaluate`."""

from collections.abc import Sequence

from unwarp.cli.parser import Parser
from unwarp.cli.run_argument import add_run, open_run


def main(argv: Sequence[str]) -> None:
    """Measure the models of a run on its test pictures again, and print their errors."""
    parser = Parser(prog="unwarp evaluate", description="Measure the models of a run on its test pictures.")
    add_run(parser)
    given = parser.parse_args(list(argv))
    run = open_run(given)

    import torch

    from unwarp.tasks.evaluation import error_percent, evaluate
    from unwarp.tasks.training import load_best

    splits = run.splits()
    batches = run.batches(splits)
    run.check_pictures(splits, batches)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for name in run.models:
        arrays = evaluate(load_best(run, name), batches, device)
        wrong = int((arrays["labels"] != arrays["predicted"]).sum())
        print(f"{name}: test error {error_percent(arrays):.2f} % ({wrong} of {arrays['labels'].size})")
