"""`basecaller search`: every stage of the plan in order, then the winner, trained longer and tested."""

from rich.console import Console

from basecaller.commandline import arguments, as_typed
from basecaller.config import compose_config
from basecaller.entry import as_message
from basecaller.printing import print_config
from basecaller.search_plan.preview import preview
from basecaller.search_plan.search import Search
from basecaller.search_plan.stages import unswept


@as_message
def main() -> None:
    overrides = as_typed(arguments("search"))
    console = Console(markup=False)
    search = Search(compose_config(unswept(overrides)), overrides, console)
    if search.cfg.search.preview:
        preview(search, console)
    else:
        if search.cfg.print_config:
            print_config(search.cfg)
        search.run()


if __name__ == "__main__":
    main()
