import Recurrences

/// Runs a program's instructions on the slots' present places in memory.
///
/// It owns its buffers; whoever drives it points the slots of inputs and states at the right token.
final class Machine {
  let program: Program
  let shape: ProblemShape
  /// Where each slot's numbers are.
  var places: [UnsafeMutablePointer<Double>]
  private var owned: [UnsafeMutablePointer<Double>] = []
  /// Rows of K x V quantities that one pass over a run takes, so that they stay in the first cache.
  private let rowsAtOnce: Int

  init(_ program: Program, _ shape: ProblemShape, scale: Double) {
    self.program = program
    self.shape = shape
    rowsAtOnce = max(1, 1024 / shape.value)
    places = []
    for slot in program.slots {
      let place = allocate(shape.count(slot.axes))
      places.append(place)
      switch slot.source {
      case .constant(let value): place.pointee = value
      case .scale: place.pointee = scale
      default: break
      }
    }
  }

  deinit { owned.forEach { $0.deallocate() } }

  /// `count` zeros that live as long as the machine.
  func allocate(_ count: Int) -> UnsafeMutablePointer<Double> {
    let place = UnsafeMutablePointer<Double>.allocate(capacity: max(count, 1))
    place.initialize(repeating: 0, count: max(count, 1))
    owned.append(place)
    return place
  }

  /// A copy of `numbers` that lives as long as the machine.
  func hold(_ numbers: [Double]) -> UnsafeMutablePointer<Double> {
    let place = allocate(numbers.count)
    numbers.withUnsafeBufferPointer { source in
      if let base = source.baseAddress { place.update(from: base, count: source.count) }
    }
    return place
  }

  func run(_ runs: [Program.Run]) {
    for run in runs {
      guard run.isByRow else {
        for instruction in run.instructions { execute(instruction, rows: 0..<1) }
        continue
      }
      var row = 0
      while row < shape.key {
        let rows = row..<min(row + rowsAtOnce, shape.key)
        for instruction in run.instructions { execute(instruction, rows: rows) }
        row = rows.upperBound
      }
    }
  }

  /// The grid that an instruction runs over: K x V for a state, one row for everything else.
  func columns(_ axes: Axes) -> Int { axes == .keyValue ? shape.value : shape.count(axes) }

  /// A slot's vector of features, or of monomials.
  func vector(_ place: UnsafeMutablePointer<Double>, _ axes: Axes) -> [Double] {
    Array(UnsafeBufferPointer(start: place, count: shape.count(axes)))
  }

  /// How a slot is walked on the grid of `axes`, from row `row` on.
  func view(
    _ base: UnsafeMutablePointer<Double>, of own: Axes, on axes: Axes, row: Int
  ) -> View {
    guard axes == .keyValue else { return View(base, row: 0, column: own == .scalar ? 0 : 1) }
    let stride = own == .keyValue ? shape.value : own == .key ? 1 : 0
    return View(base + row * stride, row: stride, column: own.contains(.value) ? 1 : 0)
  }

  private func execute(_ instruction: Program.Instruction, rows: Range<Int>) {
    let left = program.slots[instruction.left].axes
    let axes = program.slots[instruction.result].axes
    let result = view(places[instruction.result], of: axes, on: axes, row: rows.lowerBound)
    let first = view(places[instruction.left], of: left, on: axes, row: rows.lowerBound)
    let size = (rows.count, columns(axes))
    switch instruction.operation {
    case .copy: View.map(size, result, first) { $0 }
    case .unary(.negate): View.map(size, result, first) { -$0 }
    case .unary(let function): View.map(size, result, first) { function.apply($0) }
    case .binary(let function):
      let right = instruction.right ?? instruction.left
      let second = view(
        places[right], of: program.slots[right].axes, on: axes, row: rows.lowerBound)
      switch function {
      case .add: View.map(size, result, first, second) { $0 + $1 }
      case .subtract: View.map(size, result, first, second) { $0 - $1 }
      case .multiply: View.map(size, result, first, second) { $0 * $1 }
      case .divide: View.map(size, result, first, second) { $0 / $1 }
      case .maximum, .minimum: View.map(size, result, first, second) { function.apply($0, $1) }
      }
    case .monomials:
      let monomials = Monomials.apply(vector(places[instruction.left], .feature))
      places[instruction.result].update(from: monomials, count: monomials.count)
    case .sum(let axis):
      sum(instruction, over: axis, of: left, rows: rows)
    }
  }

  private func sum(
    _ instruction: Program.Instruction, over axis: Axes, of axes: Axes, rows: Range<Int>
  ) {
    let (operand, result) = (places[instruction.left], places[instruction.result])
    guard axes == .keyValue else {
      result.pointee = total(operand, columns(axes))
      return
    }
    let columns = shape.value
    for row in rows {
      let line = operand + row * columns
      if axis == .value {
        result[row] = total(line, columns)
      } else if row == 0 {
        result.update(from: line, count: columns)
      } else {
        for column in 0..<columns { result[column] += line[column] }
      }
    }
  }

  private func total(_ numbers: UnsafeMutablePointer<Double>, _ count: Int) -> Double {
    var sum = 0.0
    for index in 0..<count { sum += numbers[index] }
    return sum
  }
}

/// Numbers on a grid of rows and columns; a stride of zero repeats them.
struct View {
  var base: UnsafeMutablePointer<Double>
  var row: Int
  var column: Int

  init(_ base: UnsafeMutablePointer<Double>, row: Int, column: Int) {
    self.base = base
    self.row = row
    self.column = column
  }

  /// `result = function(x)` everywhere; the result has no stride of zero.
  @inline(__always)
  static func map(
    _ size: (rows: Int, columns: Int), _ result: View, _ x: View, _ function: (Double) -> Double
  ) {
    for row in 0..<size.rows {
      let (to, a) = (result.base + row * result.row, x.base + row * x.row)
      if x.column == 0 {
        let value = function(a.pointee)
        for column in 0..<size.columns { to[column] = value }
      } else {
        for column in 0..<size.columns { to[column] = function(a[column]) }
      }
    }
  }

  /// `result = function(x, y)` everywhere; the result has no stride of zero.
  @inline(__always)
  static func map(
    _ size: (rows: Int, columns: Int), _ result: View, _ x: View, _ y: View,
    _ function: (Double, Double) -> Double
  ) {
    for row in 0..<size.rows {
      let (to, a) = (result.base + row * result.row, x.base + row * x.row)
      let b = y.base + row * y.row
      // A loop for each case, so that each is one vector loop.
      switch (x.column, y.column) {
      case (0, 0):
        let value = function(a.pointee, b.pointee)
        for column in 0..<size.columns { to[column] = value }
      case (0, _):
        let left = a.pointee
        for column in 0..<size.columns { to[column] = function(left, b[column]) }
      case (_, 0):
        let right = b.pointee
        for column in 0..<size.columns { to[column] = function(a[column], right) }
      default:
        for column in 0..<size.columns { to[column] = function(a[column], b[column]) }
      }
    }
  }
}
