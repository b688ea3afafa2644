"""The tables and figures of the two papers, and which of our rows stand for which of them."""
import re
from typing import NamedTuple

import numpy as np


class Exhibit(NamedTuple):
    """A table or a figure of a paper. says: what it shows; figure: our picture, without the profile's folder; metrics:
    what is compared with the printed numbers; stop: at which of our rounds; drawn_of: whose rows it is drawn of, where
    another exhibit shows the same ones."""
    id: str
    says: str
    notebook: str
    figure: str = ""
    metrics: tuple = ()
    stop: str = "oracle"
    drawn_of: str = ""

    @property
    def paper(self):
        return {"not": "NoT", "tis": "TIS"}[self.id[:3]]

    @property
    def name(self):
        """`Table 3`, `Figure 1`."""
        return re.sub(r"^\w+_([a-z]+)(\d)$", lambda found: f"{found[1].title()} {found[2]}", self.id)

    @property
    def is_table(self):
        return "_table" in self.id


FEDERATED = ("forget_acc", "mia", "avg_gap_of_means", "comm_ratio")

EXHIBITS = {e.id: e for e in (
    Exhibit("not_table1", "One of ten clients leaves, IID data: federated methods on five pairs of data and net.",
            "02", "02_versus_retrain", FEDERATED),
    Exhibit("not_table2", "One owner forgets a random tenth of the images: centralised methods.",
            "06", "06_beside_the_paper", ("forget_acc", "mia", "avg_gap_of_means", "comp_ratio")),
    Exhibit("not_table3", "The least time that unlearning takes, by Theorem 1, for FT and for NoT.",
            "05", "05_least_time", ("t_unlearn",), "last"),
    Exhibit("not_table4", "A client leaves, labels are skewed (Dirichlet 0.1).", "03", "03_versus_retrain", FEDERATED),
    Exhibit("not_table5", "All clients forget a class.", "03", "03_versus_retrain", FEDERATED),
    Exhibit("not_table6", "All clients forget a tenth of their images.", "03", "03_versus_retrain", FEDERATED),
    Exhibit("not_table7", "The client that planted a backdoor leaves.", "09", "09_curves", FEDERATED),
    Exhibit("not_table8", "A new net is trained on a frozen, negated first layer.",
            "05", "05_nr_freeze", ("forget_acc", "mia", "avg_gap_of_means"), "last"),
    Exhibit("tis_table1", "Test accuracy after the reset, and as a share of Retrain's (NTA).",
            "07", "07_tradeoff_zero", ("test_acc", "nta")),
    Exhibit("tis_table2", "What still tells the target after the reset, and as a share of the way to Retrain (NFS).",
            "07", "07_tradeoff_zero", ("target_acc", "nfs_target", "mia_acc", "nfs_mia")),
    Exhibit("tis_table3", "The chosen gamma, and the share of the parameters that is reset.",
            "07", "07_gamma", ("gamma_removal", "reset_params")),
    Exhibit("tis_table4", "The backdoor on MNIST after the reset.", "09", "09_gamma", ("asr", "backdoor_acc")),
    Exhibit("tis_table5", "The time of the reset and of retraining.", "07", "", ("time", "rtr")),
    Exhibit("not_figure1", "The federated methods beside Retrain in every metric, for the ViT of Table 1.",
            "02", "02_versus_retrain", drawn_of="not_table1"),
    Exhibit("not_figure3", "Similarity of each layer with the trained model's, for the CNN.", "05", "05_similarity"),
    Exhibit("not_figure4", "Which layer is negated.", "04", "04_layers"),
    Exhibit("not_figure5", "Which change of the first layer.", "04", "04_changes"),
    Exhibit("not_figure6", "How many of the clients leave.", "04", "04_how_many_leave"),
    Exhibit("not_figure7", "Similarity of each layer, for other nets.", "05", "05_similarity"),
    Exhibit("not_figure8", "The spectrum of the gradient noise.", "05", "05_spectra"),
    Exhibit("tis_figure1", "Use against forgetting over gamma, scored and random reset.", "07", "07_tradeoff_zero"),
    Exhibit("tis_figure2", "What gamma does: parameters reset, accuracy, forgetting.", "07", "07_gamma",
            drawn_of="tis_figure1"),
    Exhibit("tis_figure3", "The same after one epoch on the reset parameters (TRIM).", "08", "08_trim"),
)}

# Settings of neither paper: trained models alone, requests that the papers leave out, controls, and the head to head.
OF_NEITHER = {"01": r".*", "03": r"joined_.*|three_clients|few_rounds", "06": r"one_class",
              "08": r".*(class|instance)", "10": r".*", "12": r".*", "13": r".*"}
BOUND = ("t_unlearn", "t_steps", "used_ratio", "noise_A", "room", "loss_gap", "gap_gradient_norm")
OF_METRIC = {
    "05": dict.fromkeys(BOUND, "not_table3") | dict.fromkeys(("alpha", "psi"), "not_figure8"),
    "07": {"test_acc": "tis_table1", "nta": "tis_table1", "target_acc": "tis_table2", "mia_acc": "tis_table2",
           "nfs": "tis_table2", "nfs_target": "tis_table2", "nfs_mia": "tis_table2", "gamma_removal": "tis_table3",
           "reset_params": "tis_table3", "time": "tis_table5", "rtr": "tis_table5"},
}


def tagged(df):
    """The rows, with the table or figure of a paper that each stands for where they do not say it themselves.

    Of what belongs to neither paper `table` stays empty.
    """
    place = ["notebook", "setting", "model", "variant", "metric"]
    empty = df["table"] == ""
    rows = df.loc[empty, place]
    different = rows.drop_duplicates()
    words = np.array([stands_for(*row) for row in different.itertuples(index=False)], dtype=object)
    table = df["table"].to_numpy(dtype=object).copy()
    if len(rows):
        which = rows.groupby(place, sort=False).ngroup()        # numbered as they come, as `different` is
        table[np.flatnonzero(empty)] = words[which]
    return df.assign(table=table)


def stands_for(notebook, setting, model, variant, metric):
    """The table or figure of a row that names none; empty for what stands in neither paper."""
    if re.fullmatch(OF_NEITHER.get(notebook, "(?!)"), setting):
        return ""
    if notebook == "04":
        return of_ablation(setting, variant)
    if notebook == "08":
        return "tis_figure3"
    if metric == "cka":
        return "not_figure3" if "CNN" in model else "not_figure7"
    if notebook == "07" and "gamma=" in variant:
        return "tis_figure1" if metric in ("nta", "nfs", "reset_params") else ""
    return OF_METRIC.get(notebook, {}).get(metric, "")


def of_ablation(setting, variant):
    """Figure 6 asks how many leave, Figure 5 how the first layer is changed, Figure 4 which layer is negated."""
    if re.search(r"_leaves?$", setting):
        return "not_figure6"
    return "not_figure5" if "kind=" in variant else "not_figure4"
