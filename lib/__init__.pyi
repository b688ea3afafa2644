"""The names of `lib`, room by room. Editors read them here; at run time each is imported when it is first used."""

# what may be said, and where things are
from .errors import Bad as Bad
from .extensions import extend as extend
from .settings import check as check, KEYS as KEYS

# federated learning: the only loop
from .fl.backdoor import add_trigger as add_trigger
from .fl.data import Data as Data, dataset as dataset, load as load
from .fl.engine import (
    action as action,
    answer as answer,
    Call as Call,
    call as call,
    labels as labels,
    loss as loss,
    Order as Order,
    part as part,
    Reply as Reply,
)
from .fl.history import History as History
from .fl.models import build as build, features as features, first_layer as first_layer, model as model
from .fl.partitions import partition as partition
from .fl.rng import generator as generator
from .fl.rounds import (
    average as average,
    Cost as Cost,
    fedavg as fedavg,
    in_process as in_process,
    one_round as one_round,
    Round as Round,
    server_job as server_job,
    Then as Then,
)
from .fl.task import (
    Client as Client,
    Job as Job,
    make_task as make_task,
    Recipe as Recipe,
    State as State,
    Task as Task,
)

# an unlearning method is a generator of rounds
from .methods import (
    defaults as defaults,
    method as method,
    METHODS as METHODS,
    recover as recover,
    unlearn as unlearn,
)
from .methods.ablation import PERTURBATIONS as PERTURBATIONS
from .methods.curvature import select as select
from .methods.trained import Trained as Trained

# what is measured
from .metrics import metric as metric
from .metrics.evaluate import (
    accuracy as accuracy,
    average_gap as average_gap,
    backdoor as backdoor,
    evaluate as evaluate,
    losses as losses,
    mia as mia,
    predict as predict,
)
from .metrics.tis import measure_all as measure_all

# compute once, resume, keep
from .runs.after import after_all as after_all
from .runs.needs import access_table as access_table
from .runs.probes import negated_again as negated_again
from .runs.run import open_store as open_store, run as run, run_all as run_all, tasks as tasks, train as train
from .runs.shadows import shadows as shadows
from .runs.store import Store as Store
from .runs.sweep import anatomy as anatomy, flatness as flatness, sweep_all as sweep_all

# the two papers' theory
from .theory.along import MEASURES as MEASURES, trace as trace, trace_all as trace_all
from .theory.information import equation25 as equation25
from .theory.lemmas import (
    estimator_check as estimator_check,
    lemma_numbers as lemma_numbers,
    toy_flows as toy_flows,
)
from .theory.studies import STUDIES as STUDIES, study as study, study_all as study_all
from .theory.time import gradient_flow as gradient_flow, noisy_counterexample as noisy_counterexample

# what a reader sees
from .report.ablations import (
    growth as growth,
    labelled as labelled,
    race as race,
    strength as strength,
    tensors as tensors,
)
from .report.after import (
    few_bits as few_bits,
    further_rounds as further_rounds,
    in_turn as in_turn,
    relearning as relearning,
    show_in_turn as show_in_turn,
    show_negated as show_negated,
    show_relearning as show_relearning,
    show_remains as show_remains,
    show_who_left as show_who_left,
    who_left as who_left,
)
from .report.audit import (
    audit_accuracy as audit_accuracy,
    audit_margins as audit_margins,
    audit_models as audit_models,
    audit_rocs as audit_rocs,
    audit_rows as audit_rows,
    show_audit as show_audit,
)
from .report.backdoor import asleep as asleep, triggered_images as triggered_images
from .report.beside import found_after as found_after
from .report.budgets import (
    budget_curves as budget_curves,
    savings as savings,
    show_budgets as show_budgets,
    show_savings as show_savings,
)
from .report.by_example import audited as audited
from .report.claims import (
    claim as claim,
    judge as judge,
    merge_claims as merge_claims,
    save_claims as save_claims,
    show_claims as show_claims,
)
from .report.claims.tis_reset import leads as leads
from .report.conclusions import conclude as conclude
from .report.drawn import save_figure as save_figure
from .report.export import export as export
from .report.figures import (
    curves as curves,
    gap_bars as gap_bars,
    lines as lines,
    tradeoff as tradeoff,
    training_curves as training_curves,
    versus_retrain as versus_retrain,
)
from .report.gallery import draw as draw
from .report.numbers import number as number
from .report.papers import compare as compare, paper_table as paper_table
from .report.pictures import clients_at_a_glance as clients_at_a_glance, images as images
from .report.reproduced import exhibit as exhibit, headline as headline, reproduced as reproduced
from .report.rivals import (
    show_after as show_after,
    through_rounds as through_rounds,
    with_first_round as with_first_round,
)
from .report.rows import (
    load_results as load_results,
    option as option,
    rows as rows,
    save_results as save_results,
)
from .report.statistics import converged as converged, pairs as pairs, tiers as tiers
from .report.style import color as color, style as style
from .report.summary import (
    by_seed as by_seed,
    cost_ratio as cost_ratio,
    differences as differences,
    each_run as each_run,
    gap_over as gap_over,
    pick as pick,
    rounds_to_retrain as rounds_to_retrain,
    summary as summary,
)
from .report.tables import show as show, show_access as show_access
from .report.theory import (
    activations_moved as activations_moved,
    alikeness as alikeness,
    bound_table as bound_table,
    contents as contents,
    flows as flows,
    recovered as recovered,
    similarity_by_layer as similarity_by_layer,
    variations as variations,
)
