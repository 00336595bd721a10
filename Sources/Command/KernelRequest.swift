import Emission
import Evaluation
import Execution
import Planning
import Recurrences
import Schedules
import Targets
import Tuning

/// A recurrence with the choices for it: what the verbs turn into kernels.
struct KernelRequest {
  var recurrence: String
  var choices: KernelChoices
  /// The gradient's options, for a kernel that may get the `backward` entry.
  var gradient: GradientOptions?
  /// Whether it gets the `step` entry where there is one.
  var hasStep = false

  /// The recurrence, of mapped queries and keys where a map is asked for.
  func known() throws -> Recurrence {
    guard let map = choices.keyMap else { return try Registry.named(recurrence) }
    guard FeatureMap(rawValue: map) != nil else {
      let maps = FeatureMap.allCases.map(\.rawValue).joined(separator: ", ")
      throw SluiceError(.usage, "--key-map must be one of \(maps), not '\(map)'.")
    }
    return try Registry.named("\(recurrence)-\(map)")
  }

  /// The specification that the options describe.
  func specification(_ host: Host) throws -> KernelSpecification {
    // Sizes that no call could have are refused before anything is made for them.
    let shape = try shape()
    let type = try elementType(choices.dtype ?? "f32", "--dtype")
    let specification = try KernelSpecification(
      normalForm: try known().normalForm(), key: shape.key, value: shape.value,
      type: type,
      gateType: try elementType(choices.gateDtype ?? type.sums.rawValue, "--gate-dtype"),
      target: try host.target(named: choices.target ?? (type == .f64 ? "generic" : "native")),
      snapshotEvery: choices.snapshots)
    if let obstacle = specification.precisionObstacle { throw SluiceError(.unsupported, obstacle) }
    return specification
  }

  /// The sizes of a call, for verbs that run one.
  func shape() throws -> ProblemShape {
    let preset = try preset()
    let queryHeads = choices.heads ?? 4
    return try ProblemShape(
      batch: choices.batch, length: choices.length, queryHeads: queryHeads,
      heads: choices.kvHeads ?? queryHeads, key: try key(preset.key),
      value: choices.valueDim ?? preset.value)
  }

  /// The planner's choice with everything that is pinned, and where it comes from.
  func choice(_ specification: KernelSpecification) throws -> (plan: Plan, origin: PlanOrigin) {
    let ranker = try ranker(specification)
    let plan = try Planner(ranker: ranker).plan(
      specification, try planRequest(), try workload(Host.detect()))
    return (plan, ranker.origin(of: plan))
  }

  /// What was measured, and the model for what was not.
  ///
  /// - Parameter isGradient: whether gradients' plans are ranked.
  func ranker(
    _ specification: KernelSpecification, isGradient: Bool = false
  ) throws -> RecordedRanker {
    let host = Host.detect()
    let workload = try workload(host)
    let model = try model(specification.target, host)
    do {
      guard let store = try RecordStore(reading: recordPath) else {
        return RecordedRanker(model: model)
      }
      var key = TuningKey(specification, workload, isGradient: isGradient)
      let records = try store.relatives(of: key)
      // For a target that this machine does not run, what ran it elsewhere is all there is.
      if !host.runs(specification.target),
        !records.contains(where: { $0.key.machine == key.machine })
      {
        key.machine = records.map(\.key.machine).min() ?? key.machine
      }
      return RecordedRanker(model: model, records: records, key: key, specification)
    } catch {
      // A kernel can be made without them.
      progress("\(error.message) Until then the model chooses alone.")
      return RecordedRanker(model: model)
    }
  }

  /// What ranks plans that were not measured: the model with the figures of --probe, else of this
  /// machine's probe, else assumed ones.
  func model(_ target: Target, _ host: Host) throws -> CostModel {
    if let path = choices.probe {
      return CostModel(calibration: try Probe.read(path, for: target.name).calibration)
    }
    do {
      return CostModel(calibration: try Probe.stored(for: target.name, on: host)?.calibration)
    } catch let error as SluiceError {
      progress("\(error.message) Until then the plan follows assumed figures.")
      return CostModel()
    }
  }

  /// The calls that the plan is chosen for.
  func workload(_ host: Host) throws -> Workload {
    let shape = try shape()
    let threads = choices.threads ?? host.cores
    guard threads >= 1 else {
      throw SluiceError(.usage, "threads must be at least 1, not \(threads).")
    }
    return Workload(
      batch: shape.batch, queryHeads: shape.queryHeads, heads: shape.heads, length: shape.length,
      threads: threads)
  }

  /// Where what was measured is kept.
  var recordPath: String { choices.records ?? RecordStore.defaultPath }

  /// What of the plan is pinned.
  func planRequest() throws -> PlanRequest {
    PlanRequest(
      schedule: choices.schedule, chunk: choices.chunk, subBlock: choices.subBlock,
      keyTile: choices.keyTile, valueTile: choices.valueTile, headTile: choices.headTile,
      materialization: try materialization(), threads: choices.threads,
      products: try choices.products.map(products),
      inner: InnerLoops(
        registerBlock: try choices.registerBlock.map(registerBlock), unroll: choices.unroll,
        ahead: choices.ahead, stores: try choices.stores.map(stores)))
  }

  /// The kernel, printed.
  func emit(_ host: Host) throws -> (
    specification: KernelSpecification, kernel: EmittedKernel, origin: PlanOrigin
  ) {
    let specification = try specification(host)
    let (plan, origin) = try choice(specification)
    let backward =
      gradient?.backward == true
      ? try gradientChoice(specification, beside: plan).plan : nil
    let written = specification.writingStates(for: backward)
    var step = hasStep ? Schedules.stepPlan(specification) : nil
    step?.threads = plan.threads
    return (
      written, try Emitter.emit(written, plan, backward: backward, step: step), origin
    )
  }

  /// The gradient's plan beside a forward plan, with everything that is pinned, and where it comes from.
  func gradientChoice(
    _ specification: KernelSpecification, beside forward: Plan
  ) throws -> (plan: Plan, origin: PlanOrigin) {
    let ranker = try ranker(specification, isGradient: true)
    let plan = try Planner(ranker: ranker).gradientPlan(
      specification, try gradientRequest(threads: forward.threads), try workload(Host.detect()),
      beside: forward)
    return (plan, ranker.origin(of: plan))
  }

  /// What of the gradient's plan is pinned.
  func gradientRequest(threads: Int?) throws -> PlanRequest {
    PlanRequest(
      schedule: gradient?.gradientSchedule, chunk: gradient?.gradientChunk,
      subBlock: gradient?.gradientSubBlock, headTile: gradient?.gradientHeadTile,
      materialization: try gradient?.gradientStates.map { text in
        guard let states = Materialization(text), states != .none else {
          throw SluiceError(
            .usage, "--gradient-states must be saved, chunks or segments:N, not '\(text)'.")
        }
        return states
      }, threads: threads)
  }

  /// K: as it is given, or as many monomials as the features have.
  private func key(_ preset: Int) throws -> Int {
    guard try !recurrence.isEmpty && known().hasFeatures else {
      guard choices.featureDim == nil else {
        throw SluiceError(
          .usage,
          "--feature-dim is of keys that are monomials of features, as --key-map taylor2 makes them; "
            + "here the size of q and k is --key-dim.")
      }
      return choices.keyDim ?? preset
    }
    guard let features = choices.featureDim else {
      return choices.keyDim ?? (choices.preset == nil ? Monomials.count(of: 16) : preset)
    }
    guard (1...89).contains(features) else {
      throw SluiceError(
        .usage, "--feature-dim must be from 1 to 89, which have 4095 monomials, not \(features).")
    }
    let key = Monomials.count(of: features)
    guard choices.keyDim == nil || choices.keyDim == key else {
      throw SluiceError(
        .usage, "\(features) features have \(key) monomials: leave out --key-dim.")
    }
    return key
  }

  private func preset() throws -> (key: Int, value: Int) {
    switch choices.preset {
    case nil: return (128, 128)
    case "gla-340m": return (128, 256)
    case "gla-1.3b": return (256, 512)
    case let name?:
      throw SluiceError(.usage, "There is no preset '\(name)'; known are gla-340m and gla-1.3b.")
    }
  }

  private func products(_ name: String) throws -> ElementType {
    guard let type = ElementType(rawValue: name), [.f32, .bf16].contains(type) else {
      throw SluiceError(.usage, "--products must be f32 or bf16, not '\(name)'.")
    }
    return type
  }

  private func registerBlock(_ text: String) throws -> RegisterBlock {
    guard let block = RegisterBlock(text) else {
      throw SluiceError(
        .usage, "--register-block must be rows and vectors, such as 4x4, not '\(text)'.")
    }
    return block
  }

  private func stores(_ name: String) throws -> InnerLoops.Stores {
    guard let stores = InnerLoops.Stores(rawValue: name) else {
      throw SluiceError(.usage, "--stores must be plain or streaming, not '\(name)'.")
    }
    return stores
  }

  private func materialization() throws -> Materialization? {
    guard let text = choices.materialization else { return nil }
    guard let value = Materialization(text) else {
      throw SluiceError(
        .usage,
        "--materialization must be none, segments:N (N from 1 to 4096) or chunks, not '\(text)'.")
    }
    return value
  }
}

/// The element type that an option names.
func elementType(_ name: String, _ option: String) throws -> ElementType {
  guard let type = ElementType(rawValue: name) else {
    throw SluiceError(.usage, "\(option) must be f32, bf16, f16 or f64, not '\(name)'.")
  }
  return type
}
