"""Steps as jobs of a SLURM cluster, by its own commands: sbatch, squeue, scancel and scontrol; no accounting.

config     options of the executor, and the profile file: what is asked of the cluster
commands   SLURM's commands, and what they print
session    the folder through which the process of a run and its jobs exchange tasks, events and marks
script     the batch script of an array of jobs
engine     in the process of the run: submits arrays, reads events, notices jobs that are gone
job        in each job: takes tasks until none is left; saves and requeues when it is signalled
"""
