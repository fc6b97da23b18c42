# shellcheck shell=bash
# What a job of this cluster needs before epilayer is called. Adapt; it is copied into every batch script.
#
# module purge && module load vasp/6.4 lobster/5.1
# source "$HOME/epilayer/.venv/bin/activate"
# export ATOMATE2_VASP_CMD="srun vasp_std" ATOMATE2_VASP_GAMMA_CMD="srun vasp_gam"
# export PMG_VASP_PSP_DIR="$HOME/potcars"
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
