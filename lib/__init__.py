"""Federated unlearning, reproduced: an unlearning method is a generator of rounds, FedAvg does the rest.

Names are imported when first used, so that `import lib` alone does not wait for torch.
"""
from importlib import import_module

_HOME = {
    "errors": "Bad",
    "files": "runs_root",
    "fl.backdoor": "add_trigger",
    "fl.data": "Data load",
    "fl.history": "History Trained",
    "fl.models": "build features first_layer",
    "fl.partitions": "partition",
    "fl.rng": "generator",
    "fl.rounds": "Cost Round average fedavg learning_rate one_round server_job",
    "fl.task": "Client Job Recipe State Task make_task",
    "methods": "METHODS method unlearn recover defaults",
    "methods.ablation": "PERTURBATIONS choose",
    "methods.curvature": "select",
    "methods.tis": "put_back scores",
    "metrics.evaluate": "evaluate mia average_gap predict accuracy losses backdoor",
    "metrics.tis": "measure measure_all relative attack_nn attack_logistic target_classes headline best "
                   "at_level",
    "report.ablations": "labelled race strength tensors growth",
    "report.backdoor": "triggered_images asleep",
    "report.claims": "claim judge show_claims save_claims merge_claims",
    "report.claims.tis_reset": "leads",
    "report.figures": "curves training_curves versus_retrain gap_bars tradeoff lines",
    "report.numbers": "number",
    "report.papers": "paper_table compare",
    "report.pictures": "clients_at_a_glance images",
    "report.rows": "to_rows rows save_results load_results option",
    "report.style": "style color save_figure",
    "report.summary": "summary cost_ratio differences gap_over by_seed each_run pick "
                      "rounds_to_retrain",
    "report.tables": "show show_access",
    "report.theory": "study_table bound_table alikeness normalised profiles flows contents recovered "
                     "activations_moved variations",
    "runs.code": "code_hash",
    "runs.needs": "access_table derive_needs",
    "runs.probes": "negated_again",
    "runs.progress": "progress",
    "runs.run": "open_store tasks train run run_all described environment",
    "runs.store": "Store",
    "runs.sweep": "anatomy curvatures flatness sweep_all",
    "settings": "KEYS check complete",
    "theory.along": "MEASURES trace trace_all",
    "theory.equation25": "equation25",
    "theory.information": "fisher_information fisher_information_mc",
    "theory.lemmas": "toy_flows lemma_numbers estimator_check",
    "theory.similarity": "cka_profile",
    "theory.studies": "STUDIES study study_all",
    "theory.time": "unlearning_time flow_steps gradient_flow noisy_counterexample loss_gradient",
}
_WHERE = {name: module for module, names in _HOME.items() for name in names.split()}
__all__ = sorted(_WHERE)


def __getattr__(name):
    if name not in _WHERE:
        raise AttributeError(f"lib has no {name!r}")
    value = getattr(import_module(f".{_WHERE[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__():
    return [*globals(), *__all__]
