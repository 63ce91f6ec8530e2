"""`python -m basecaller.train`: trains once; with `-m`, sweeps a stage or every key with several values.

python -m basecaller.train
python -m basecaller.train -m stage=lr_adam
python -m basecaller.train -m optimizer=adam,adamax,adagrad optimizer.lr=0.001,0.0005
"""

import re
import sys

import hydra

from basecaller.cli.arguments import as_typed
from basecaller.cli.entry import as_message
from basecaller.cli.flags import no_such_flag, without_config_dir
from basecaller.cli.help import answer_help
from basecaller.common.errors import SettingError
from basecaller.common.places import conf_dir
from basecaller.hpo.hydra_private import unknown_flags
from basecaller.task import run_job


@as_message
def main() -> None:
    answer_help("train", sys.argv[1:])
    given = without_config_dir(sys.argv[1:])  # as an override, which --experimental-rerun finds in a run's folder
    if unknown := unknown_flags(given):
        raise no_such_flag(unknown[0], "train")
    if own := [line for line in given if re.match(r"\+*trial[.=]", line)]:
        raise SettingError(f"{own[0]}: the sweeper sets the trial of a job; leave it out")
    sys.argv[1:] = as_typed(given)  # Hydra reads them itself
    hydra.main(config_path=conf_dir(), config_name="config")(run_job)()


if __name__ == "__main__":
    main()
