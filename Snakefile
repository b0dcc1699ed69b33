# A sweep's jobs, each one run of our own runner. `python -m srlib sweep FILE` (or `make sweep`)
# writes the list of them, checked, and starts Snakemake 9 with this file; see srlib/ops/sweep.py.
# Another scheduler's settings are a Snakemake profile: params/clusters/slurm, …/kubernetes.
# Snakemake's own paths are relative to the sweep's folder, so that a storage provider may copy them;
# what our runner gets are absolute ones.
import json
from pathlib import Path

PLAN = json.loads(Path(config["plan"]).read_text())
JOBS = {job["name"]: job for job in PLAN["jobs"]}
DONE, PARAMETERS = "done/{job}", "params/{job}.yaml"


localrules:
    everything,


rule everything:
    input:
        expand(DONE, job=JOBS),


rule notebook:
    input:
        parameters=PARAMETERS,
        first=lambda wildcards: expand(DONE, job=JOBS[wildcards.job]["needs"]),
    output:
        touch(DONE),
    log:
        "logs/{job}.log",
    params:
        root=PLAN["root"],
        python=PLAN["python"],
        gpus=PLAN["folder"] + "/gpus",
        file=lambda wildcards: JOBS[wildcards.job]["file"],
    resources:
        gpu=lambda wildcards: JOBS[wildcards.job]["gpus"],
        # minutes; the parameter file's, half as much again, and more at a second try
        runtime=lambda wildcards, attempt: int(10 + 1.5 * attempt * JOBS[wildcards.job]["minutes"]),
    shell:
        "(cd {params.root:q} && {params.python:q} -m srlib.ops.pin {params.gpus:q} {resources.gpu}"
        " {params.python:q} -m srlib run {params.file:q}) > {log:q} 2>&1"
