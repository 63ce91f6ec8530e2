"""`basecaller search`: every stage of the plan in order, then the winner, trained longer and tested."""

from rich.console import Console

from basecaller.cli.arguments import arguments, as_typed
from basecaller.cli.entry import as_message
from basecaller.config.printing import print_config
from basecaller.search_plan.preview import preview
from basecaller.search_plan.request import Request
from basecaller.search_plan.search import Search


@as_message
def main() -> None:
    request, console = Request(as_typed(arguments("search"))), Console(markup=False)
    if request.cfg.search.preview:
        preview(request, console)
    else:
        if request.cfg.print_config:
            print_config(request.cfg)
        Search(request, console).run()


if __name__ == "__main__":
    main()
