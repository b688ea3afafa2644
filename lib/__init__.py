"""Federated unlearning, reproduced: an unlearning method is a generator of rounds, FedAvg does the rest.

Names are imported when first used, so that `import lib` alone does not wait for torch.
"""
from importlib import import_module

_HOME = {
    "params": "Bad KEYS check complete",
    "data": "Data load",
    "partitions": "add_trigger generator partition",
    "models": "build features first_layer",
    "task": "Client Job Recipe State Task make_task",
    "rounds": "Cost Round average fedavg learning_rate one_round server_job",
    "metrics": "evaluate mia average_gap predict accuracy losses backdoor",
    "methods": "METHODS method unlearn recover defaults",
    "curvature": "select",
    "methods.estimation": "put_back scores",
    "methods.ablation": "PERTURBATIONS choose",
    "store": "Store runs_root code_hash",
    "results": "to_rows rows save_results load_results summary cost_ratio differences by_seed each_run option "
               "rounds_to_retrain",
    "report": "paper_table compare show show_access number claim show_claims save_claims merge_claims",
    "plots": "style color curves training_curves versus_retrain gap_bars tradeoff lines save_figure",
    "pictures": "clients_at_a_glance images",
    "experiment": "History Trained open_store tasks train run runs described environment",
    "tracing": "MEASURES trace traces",
    "evidence": "STUDIES study studies study_table toy_flows lemma_numbers estimator_check pick bound_table",
    "theory": "cka_profile cka_normalised unlearning_time flow_steps gradient_flow noisy_counterexample "
              "fisher_information fisher_information_mc loss_gradient",
    "panels": "labelled race strength tensors growth normalised profiles flows contents recovered activations_moved "
              "variations",
    "bar": "progress",
    "access": "access_table derive_needs",
    "tis_metrics": "measure measure_all relative attack_nn attack_logistic target_classes headline best at_level",
    "gammas": "anatomy curvatures flatness sweeps",
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
