import Sluice

await SluiceMain.main(recurrences: [.rglru])
