"""`python -m basecaller.train`: trains once; with `-m` sweeps a stage, or whatever the command line says.

python -m basecaller.train
python -m basecaller.train -m stage=lr_adam
python -m basecaller.train -m optimizer=adam,adamax,adagrad optimizer.lr=0.001,0.0005
"""

import hydra

from basecaller.config import as_message
from basecaller.places import conf_dir
from basecaller.run import job

main = as_message(hydra.main(config_path=conf_dir(), config_name="config")(job))

if __name__ == "__main__":
    main()
