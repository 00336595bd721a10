import Recurrences
import Schedules
import TileIR

/// Predicts the seconds of a plan from its tile program and what a machine's words cost.
///
/// Every operation of the program has a price (`OperationPrice`); a worker's time is the sum over
/// the chunks that it walks, and a phase takes as many rounds of workers as its threads need. A new
/// schedule made of known operations needs nothing here.
public struct CostModel: Ranker {
  /// What the machine was measured to do; nil for what is assumed of the target.
  public var calibration: Calibration?

  public init(calibration: Calibration? = nil) { self.calibration = calibration }

  public func cost(
    of plan: Plan, for specification: KernelSpecification, _ workload: Workload
  ) -> Double {
    prediction(of: plan, for: specification, workload).seconds
  }

  /// The time of a call, term by term.
  ///
  /// - Parameter plan: without objections.
  public func prediction(
    of plan: Plan, for specification: KernelSpecification, _ workload: Workload
  ) -> Prediction {
    guard let schedule = Schedules.ofAnyEntry(plan.schedule)
    else { return Prediction(terms: [:]) }
    let program = schedule.lower(specification, plan)
    if let priced = schedule as? any PricedSchedule {
      return Prediction(terms: [.recurrence: priced.seconds(of: plan, program, workload)])
    }
    return prediction(of: program, for: specification, workload, plan.inner)
  }

  /// The time of a call of a tile program, term by term.
  ///
  /// - Parameter inner: how the plan wants the innermost loops.
  public func prediction(
    of program: TileProgram, for specification: KernelSpecification, _ workload: Workload,
    _ inner: InnerLoops = InnerLoops()
  ) -> Prediction {
    let figures = calibration ?? .assumed(for: specification.target)
    let walk = WalkCounts(program, workload)
    var total = Charges()
    for phase in program.phases {
      let price = OperationPrice(
        program: program, phase: phase, target: specification.target, figures: figures,
        workload: workload, inner: inner)
      var worker = Charges()
      let group = Double(workload.queryHeads) / Double(max(1, workload.heads))
      for counted in program.countedOperations(
        of: phase, heads: workload.heads, queryHeads: group)
      {
        let times = counted.times * walk.times(counted.occasion, in: phase)
        worker.add(price.charges(counted), times: times)
      }
      // The last worker may hold fewer heads; what the others do is a worker's time.
      let work = walk.work(of: phase)
      let threads = Double(max(1, workload.threads))
      let workers = walk.workers(of: phase)
      let rounds =
        program.sharesWalks(workers, of: workload)
        // The last ones go in stretches: half of the least one is waited for.
        ? work / threads + 0.5 * Double(Stretch.tokens) / Double(workload.length)
        : Self.rounds(workers, threads)
      total.add(worker, times: work / threads)
      total.seconds[.idle, default: 0] += (rounds - work / threads) * worker.sum
    }
    if workload.threads > 1 { total.seconds[.threads] = figures.forkJoin }
    return Prediction(terms: total.seconds.filter { $0.value > 0 })
  }

  /// How many workers one after the other it takes until all are done.
  ///
  /// Where other programs run, one core in time does a third less than the others, and all wait for it.
  /// Workers are dealt as threads come free, so many small ones make up for that and few large ones
  /// cannot: a fourth of what it then takes longer is charged. On two threads sixteen heads in tiles of
  /// two took as long as in tiles of four on a quiet machine, and 15% less beside another program.
  private static func rounds(_ workers: Double, _ threads: Double) -> Double {
    let even = (workers / threads).rounded(.up)
    guard threads > 1 else { return even }
    let uneven = stride(from: 0, through: even, by: 1).map { slow in
      max(1.5 * slow, ((workers - slow) / (threads - 1)).rounded(.up))
    }.min()!
    return even + 0.25 * (uneven - even)
  }
}

extension TileProgram {
  /// Whether threads hand so many walks to each other (`Stretch`).
  fileprivate func sharesWalks(_ walks: Double, of workload: Workload) -> Bool {
    isOneWalk && workload.threads > 1 && walks > Double(workload.threads)
      && workload.length >= Stretch.sequence
  }
}

/// Seconds by term, while they are added up.
struct Charges {
  var seconds: [Prediction.Term: Double] = [:]

  var sum: Double { seconds.values.reduce(0, +) }

  mutating func add(_ other: Charges, times: Double) {
    for (term, amount) in other.seconds { seconds[term, default: 0] += amount * times }
  }
}

/// How often a worker does what, and how many workers there are.
struct WalkCounts {
  let program: TileProgram
  let workload: Workload
  /// Chunks of a sequence, and segments that hold any.
  let chunks: Double
  let segments: Double

  init(_ program: TileProgram, _ workload: Workload) {
    self.program = program
    self.workload = workload
    chunks = (Double(workload.length) / Double(program.chunk)).rounded(.up)
    segments =
      switch program.segmentation {
      case .none: 1
      case .fixed(let count): Double(count)
      case .perChunk: max(1, chunks)
      }
  }

  func times(_ occasion: CountedOperation.Occasion, in phase: TileProgram.Phase) -> Double {
    switch occasion {
    case .worker: 1
    case .segment: min(segments, max(1, chunks))
    case .chunk:
      // The longest segment is what the others wait for.
      phase.grid.contains(.segment) ? (chunks / segments).rounded(.up) : chunks
    }
  }

  /// Workers of a phase, those that hold fewer heads counted by what they hold.
  func work(of phase: TileProgram.Phase) -> Double {
    guard phase.grid.contains(.head) else { return workers(of: phase) }
    let tiles = Double(workload.heads) / Double(max(1, min(program.headTile, workload.heads)))
    return workers(of: phase) / headTiles * tiles
  }

  private var headTiles: Double {
    Double(max(1, (workload.heads + program.headTile - 1) / program.headTile))
  }

  func workers(of phase: TileProgram.Phase) -> Double {
    phase.grid.reduce(1) { count, axis in
      switch axis {
      case .sequence: count * Double(workload.batch)
      case .head: count * headTiles
      case .valueTile: count * Double(program.valueTiles)
      case .segment:
        // Segments past the last chunk end at once.
        count * (chunks / max(1, (chunks / segments).rounded(.up))).rounded(.up)
      }
    }
  }
}
