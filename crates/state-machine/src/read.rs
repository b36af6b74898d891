//! etcd's range semantics over any view of the key space: limits, sorting,
//! filters, `count`, `more` (reference: etcd's `executeRange`).

use t4_kv_types::{
    Compare, CompareResult, CompareTarget, KeyRange, KeyValue, LeaseId, RangeRequest, RangeResult,
    Revision, SortOrder, SortTarget, TxnOp, TxnOpResult, TxnRequest, TxnResult,
};
use t4_mvcc::{Budget, KeyMeta, Page, Projection, ReadError};

/// The most bytes in the answer to a request: the limit of etcd's server and
/// clients for one message. Larger answers are rejected before they are
/// gathered and before anything is written.
pub const ANSWER_BYTES_MAX: usize = i32::MAX as usize;

/// The most bytes that an answer may have besides pairs, for itself and for
/// each operation of a transaction: headers, counts, tags and lengths.
pub(crate) const ANSWER_OVERHEAD_BYTES: usize = 128;

/// The key space as seen by one evaluation.
pub(crate) trait View {
    /// The newest revision of this view, which a request at revision 0 reads.
    fn revision(&self) -> Revision;

    /// The oldest readable revision; `None` before any compaction.
    fn compacted(&self) -> Option<Revision>;

    /// The budget of the answer gathered from this view.
    fn budget(&self) -> &Budget<'_>;

    /// One key at a revision. Not charged to the budget.
    fn get(&self, key: &[u8], at: Revision) -> Result<Option<KeyValue>, ReadError>;

    /// The metadata of one key at the newest revision of this view.
    fn meta(&self, key: &[u8]) -> Result<Option<KeyMeta>, ReadError>;

    /// The keys of a range at a revision, at most `limit` (0: all), and their
    /// total number. Each key is charged to the budget.
    fn page(
        &self,
        range: &KeyRange,
        at: Revision,
        limit: usize,
        projection: Projection,
    ) -> Result<Page, ReadError>;
}

pub(crate) fn meta_of(kv: &KeyValue) -> KeyMeta {
    KeyMeta {
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
    }
}

/// Runs a range on a view.
pub(crate) fn range(view: &impl View, request: &RangeRequest) -> Result<RangeResult, ReadError> {
    let revision = view.revision();
    view.budget().bytes(ANSWER_OVERHEAD_BYTES)?;
    let at = if request.revision.0 > 0 { request.revision } else { revision };
    if at > revision {
        return Err(ReadError::Future);
    }
    let limit = usize::try_from(request.limit).unwrap_or(0);
    if request.count_only {
        let page = view.page(&request.range, at, 0, Projection::CountOnly)?;
        return Ok(RangeResult { revision, count: page.count as i64, ..Default::default() });
    }
    let page = view.page(&request.range, at, fetch_limit(request, limit), projection(request))?;
    let mut kvs = page.kvs;
    filter(&mut kvs, request);
    sort(&mut kvs, request);
    let more = limit > 0 && kvs.len() > limit;
    if more {
        kvs.truncate(limit);
    }
    if request.keys_only {
        for kv in &mut kvs {
            kv.value.clear();
        }
    }
    Ok(RangeResult { revision, kvs, more, count: page.count as i64 })
}

/// One more than the limit shows whether there is more; a sort or a filter
/// needs everything first.
fn fetch_limit(request: &RangeRequest, limit: usize) -> usize {
    if limit == 0 || request.sort_order != SortOrder::None || has_filter(request) {
        0
    } else {
        limit.saturating_add(1)
    }
}

fn projection(request: &RangeRequest) -> Projection {
    if request.keys_only && request.sort_target != SortTarget::Value {
        Projection::KeysOnly
    } else {
        Projection::Full
    }
}

fn has_filter(request: &RangeRequest) -> bool {
    request.min_mod_revision.0 != 0
        || request.max_mod_revision.0 != 0
        || request.min_create_revision.0 != 0
        || request.max_create_revision.0 != 0
}

fn filter(kvs: &mut Vec<KeyValue>, request: &RangeRequest) {
    if !has_filter(request) {
        return;
    }
    let inside = |value: Revision, min: Revision, max: Revision| {
        (min.0 == 0 || value >= min) && (max.0 == 0 || value <= max)
    };
    kvs.retain(|kv| {
        inside(kv.mod_revision, request.min_mod_revision, request.max_mod_revision)
            && inside(kv.create_revision, request.min_create_revision, request.max_create_revision)
    });
}

/// Ties stay in key order in both directions. etcd's sort does not specify the
/// order of ties; up to 12 keys it does the same.
fn sort(kvs: &mut [KeyValue], request: &RangeRequest) {
    let natural = request.sort_target == SortTarget::Key;
    if natural && request.sort_order != SortOrder::Descend {
        return;
    }
    let order = |a: &KeyValue, b: &KeyValue| match request.sort_target {
        SortTarget::Key => a.key.cmp(&b.key),
        SortTarget::Version => a.version.cmp(&b.version),
        SortTarget::Create => a.create_revision.cmp(&b.create_revision),
        SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
        SortTarget::Value => a.value.cmp(&b.value),
    };
    match request.sort_order {
        SortOrder::Descend => kvs.sort_by(|a, b| order(b, a)),
        SortOrder::None | SortOrder::Ascend => kvs.sort_by(order),
    }
}

/// The metadata of a missing key in a compare.
const MISSING: KeyMeta = KeyMeta {
    create_revision: Revision(0),
    mod_revision: Revision(0),
    version: 0,
    lease: LeaseId::NONE,
};

/// Whether a compare holds on a view's newest state.
pub(crate) fn holds(view: &impl View, compare: &Compare) -> Result<bool, ReadError> {
    if let CompareTarget::Value(given) = &compare.target {
        let page = view.page(&compare.range, view.revision(), 0, Projection::Full)?;
        return Ok(!page.kvs.is_empty()
            && page.kvs.iter().all(|kv| relates(kv.value.cmp(given), compare.result)));
    }
    if compare.range.is_single() {
        let meta = view.meta(&compare.range.start)?.unwrap_or(MISSING);
        return Ok(relates(against(&meta, &compare.target), compare.result));
    }
    let page = view.page(&compare.range, view.revision(), 0, Projection::KeysOnly)?;
    if page.kvs.is_empty() {
        return Ok(relates(against(&MISSING, &compare.target), compare.result));
    }
    Ok(page.kvs.iter().all(|kv| relates(against(&meta_of(kv), &compare.target), compare.result)))
}

fn against(meta: &KeyMeta, target: &CompareTarget) -> std::cmp::Ordering {
    match target {
        CompareTarget::Version(given) => meta.version.cmp(given),
        CompareTarget::Create(given) => meta.create_revision.cmp(given),
        CompareTarget::Mod(given) => meta.mod_revision.cmp(given),
        CompareTarget::Lease(given) => meta.lease.cmp(given),
        CompareTarget::Value(_) | CompareTarget::Unknown => std::cmp::Ordering::Equal,
    }
}

fn relates(ordering: std::cmp::Ordering, result: CompareResult) -> bool {
    match result {
        CompareResult::Equal => ordering.is_eq(),
        CompareResult::NotEqual => ordering.is_ne(),
        CompareResult::Greater => ordering.is_gt(),
        CompareResult::Less => ordering.is_lt(),
        CompareResult::Unknown => true,
    }
}

/// The branch of a transaction, and of its nested transactions, that runs. All
/// compares see the state before the whole transaction.
pub(crate) struct Path<'a> {
    pub(crate) succeeded: bool,
    pub(crate) ops: &'a [TxnOp],
    /// The paths of the nested transactions among `ops`, in order.
    pub(crate) nested: Vec<Path<'a>>,
}

/// Evaluates all compares.
pub(crate) fn path<'a>(view: &impl View, txn: &'a TxnRequest) -> Result<Path<'a>, ReadError> {
    let mut succeeded = true;
    for compare in &txn.compares {
        // The keys that a compare reads are not part of the answer.
        let left = view.budget().bytes_left();
        let holds = holds(view, compare)?;
        view.budget().give_back_to(left);
        if !holds {
            succeeded = false;
            break;
        }
    }
    let ops = if succeeded { &txn.success } else { &txn.failure };
    let mut nested = Vec::new();
    for op in ops {
        if let TxnOp::Txn(inner) = op {
            nested.push(path(view, inner)?);
        }
    }
    Ok(Path { succeeded, ops, nested })
}

/// Whether the ranges of a path can be read: 0 means the newest revision; a
/// negative revision counts as compacted if it is below the compacted one,
/// which is -1 before any compaction.
pub(crate) fn check_ranges(view: &impl View, path: &Path<'_>) -> Result<(), ReadError> {
    let first = view.compacted().map_or(-1, |at| at.0);
    let mut nested = path.nested.iter();
    for op in path.ops {
        match op {
            TxnOp::Range(range) if range.revision.0 == 0 => {}
            TxnOp::Range(range) if range.revision > view.revision() => {
                return Err(ReadError::Future);
            }
            TxnOp::Range(range) if range.revision.0 < first => return Err(ReadError::Compacted),
            TxnOp::Txn(_) => check_ranges(view, nested.next().expect("one path per txn"))?,
            _ => {}
        }
    }
    Ok(())
}

/// Runs a transaction without writes.
pub(crate) fn read_only_txn(view: &impl View, txn: &TxnRequest) -> Result<TxnResult, ReadError> {
    view.budget().bytes(ANSWER_OVERHEAD_BYTES)?;
    let path = path(view, txn)?;
    check_ranges(view, &path)?;
    let mut responses = Vec::with_capacity(path.ops.len());
    for op in path.ops {
        let TxnOp::Range(request) = op else {
            unreachable!("only transactions of plain ranges are run without the log")
        };
        responses.push(TxnOpResult::Range(range(view, request)?));
    }
    Ok(TxnResult { revision: view.revision(), succeeded: path.succeeded, responses })
}
