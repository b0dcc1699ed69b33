# A sweep's jobs, each one run of our own runner. `python -m srlib sweep FILE` (or `make sweep`)
# writes the list of them, checked, and starts Snakemake 9 with this file; see srlib/sweep.py.
# Another scheduler's settings are a Snakemake profile: params/clusters/slurm, …/kubernetes.
import json
from pathlib import Path

PLAN = json.loads(Path(config["plan"]).read_text())
JOBS = {job["name"]: job for job in PLAN["jobs"]}
DONE, LOG = PLAN["folder"] + "/done/{job}", PLAN["folder"] + "/logs/{job}.log"


localrules:
    everything,


rule everything:
    input:
        expand(DONE, job=JOBS),


rule notebook:
    input:
        parameters=lambda wildcards: JOBS[wildcards.job]["file"],
        first=lambda wildcards: expand(DONE, job=JOBS[wildcards.job]["needs"]),
    output:
        touch(DONE),
    log:
        LOG,
    params:
        root=PLAN["root"],
        python=PLAN["python"],
        gpus=PLAN["folder"] + "/gpus",
    resources:
        gpu=lambda wildcards: JOBS[wildcards.job]["gpus"],
        # minutes; the parameter file's, half as much again, and more at a second try
        runtime=lambda wildcards, attempt: int(10 + 1.5 * attempt * JOBS[wildcards.job]["minutes"]),
    shell:
        "cd {params.root:q} && {params.python:q} -m srlib.pin {params.gpus:q} {resources.gpu}"
        " {params.python:q} -m srlib run {input.parameters:q} > {log:q} 2>&1"
