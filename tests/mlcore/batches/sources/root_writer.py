"""Writes the files of these tests with ROOT, in a process of its own: folder and rows."""

from __future__ import annotations

import os
import sys

import ROOT

DECLARATIONS = """
#include <ROOT/RNTupleModel.hxx>
#include <ROOT/RNTupleWriter.hxx>
#include <ROOT/RVec.hxx>
#include <TClonesArray.h>
#include <TFile.h>
#include <TNtuple.h>
#include <TRandom3.h>
#include <TTree.h>
#include <TVector3.h>
#include <array>
#include <bitset>
#include <memory>
#include <variant>
#include <optional>
#include <string>
#include <vector>

struct SourceJet { float pt; int q; };
struct SourceTrack : SourceJet { double z; };
enum class SourceKind : short { none = 0, some = 7 };
struct SourceHit { SourceJet jet; double x; };
struct SourceEvent { int number; double weight; float cells[4]; std::vector<float> times; };

struct Row {
  float f; double d; Char_t c; UChar_t uc; Short_t s; UShort_t us; Int_t i; UInt_t ui; Long64_t l; ULong64_t ul; Bool_t b;
  Double32_t d32; Float16_t f16; float fixed[3]; int matrix[2][3]; int n; double counted[12]; float pairs[12][2];
  Long_t gl; ULong_t gul;
};

void write_tree(const char* path, int rows, int compression, bool close, const char* save = "") {
  auto file = new TFile(path, "RECREATE", "", compression);
  auto tree = new TTree("Events", "t");
  tree->SetAutoFlush(close ? 700 : 0);
  Row r;
  std::vector<float> vf; std::vector<double> vd; std::vector<int> vi; std::vector<unsigned char> vuc; std::vector<bool> vb;
  std::vector<Long64_t> vl; std::vector<std::vector<float>> nested; std::string text; ROOT::RVec<float> rvec;
  std::array<double, 4> array; TClonesArray jets("TVector3"); SourceEvent event; std::vector<std::string> texts;
  TVector3 point;
  tree->Branch("f", &r.f, "f/F"); tree->Branch("d", &r.d, "d/D"); tree->Branch("c", &r.c, "c/B");
  tree->Branch("uc", &r.uc, "uc/b");
  tree->Branch("s", &r.s, "s/S"); tree->Branch("us", &r.us, "us/s"); tree->Branch("i", &r.i, "i/I");
  tree->Branch("ui", &r.ui, "ui/i");
  tree->Branch("l", &r.l, "l/L"); tree->Branch("ul", &r.ul, "ul/l"); tree->Branch("b", &r.b, "b/O");
  tree->Branch("gl", &r.gl, "gl/G"); tree->Branch("gul", &r.gul, "gul/g");
  tree->Branch("d32", &r.d32, "d32/d[0,10,12]"); tree->Branch("f16", &r.f16, "f16/f[0,10,10]");
  tree->Branch("fixed", r.fixed, "fixed[3]/F"); tree->Branch("matrix", r.matrix, "matrix[2][3]/I");
  tree->Branch("n", &r.n, "n/I"); tree->Branch("counted", r.counted, "counted[n]/D");
  tree->Branch("pairs", r.pairs, "pairs[n][2]/F");
  tree->Branch("vf", &vf); tree->Branch("vd", &vd); tree->Branch("vi", &vi); tree->Branch("vuc", &vuc);
  tree->Branch("vb", &vb);
  tree->Branch("vl", &vl); tree->Branch("nested", &nested); tree->Branch("text", &text); tree->Branch("texts", &texts);
  tree->Branch("rvec", &rvec); tree->Branch("array", &array); tree->Branch("jets", &jets); tree->Branch("event", &event);
  tree->Branch("point.", &point);
  tree->Branch("leaves", &r.f, "x/F:y/F:k/I");
  if (close) { tree->SetBasketSize("d", 3000); tree->SetBasketSize("vf", 1200); tree->SetBasketSize("i", 500); }
  else tree->SetBasketSize("*", 2000);
  struct { float x, y; int k; } leaves; tree->SetBranchAddress("leaves", &leaves);
  TRandom3 random(7);
  for (int row = 0; row < rows; ++row) {
    r.f = int(random.Gaus(0, 100)); r.d = random.Gaus(); r.c = random.Integer(200); r.uc = random.Integer(250);
    r.s = int(random.Gaus(0, 999)); r.us = random.Integer(9999); r.i = int(random.Gaus(0, 1e6));
    r.ui = random.Integer(4000000000u);
    r.l = -row * 10000000000ll; r.ul = 1ull << (row % 64); r.b = row % 3 == 0; r.gl = -row; r.gul = row;
    r.d32 = random.Uniform(0, 10); r.f16 = random.Uniform(0, 10); r.n = row % 100 < 20 ? 0 : random.Integer(12);
    for (int k = 0; k < 3; ++k) r.fixed[k] = row + k;
    for (int k = 0; k < 6; ++k) r.matrix[k / 3][k % 3] = row - k;
    for (int k = 0; k < 4; ++k) { array[k] = row * k; event.cells[k] = k - row; }
    vf.clear(); vd.clear(); vi.clear(); vuc.clear(); vb.clear(); vl.clear(); nested.clear(); rvec.clear(); jets.Clear();
    texts.clear();
    event.times.clear();
    event.number = row; event.weight = random.Gaus(); point.SetXYZ(row, -row, 1);
    for (int k = 0; k < r.n; ++k) {
      r.counted[k] = random.Gaus(); r.pairs[k][0] = k; r.pairs[k][1] = row; vf.push_back(k + row); vd.push_back(-k);
      vi.push_back(row);
      vuc.push_back(k); vb.push_back(k % 2); vl.push_back(-k); nested.push_back({float(k)}); rvec.push_back(k * 2);
      new (jets[k]) TVector3(k + row, k, row); texts.push_back("x"); event.times.push_back(k);
    }
    text = "row " + std::to_string(row); leaves = {float(row), -float(row), row};
    tree->Fill();
    if (!close && (row == rows / 3 || row == rows * 2 / 3)) tree->AutoSave(save);
  }
  if (!close) { file->Flush(); return; }  // as a job leaves it that was killed
  tree->Write(); delete file;
}

void write_small(const char* folder, int rows) {
  TString path(folder);
  {
    TFile file(path + "/embedded.root", "RECREATE");
    TTree tree("t", "t"); tree.SetAutoFlush(0); tree.SetDirectory(nullptr);
    double x; std::vector<int> v; float a[2]; tree.Branch("x", &x); tree.Branch("v", &v); tree.Branch("a", a, "a[2]/F");
    tree.SetBasketSize("x", 800);
    for (int row = 0; row < 500; ++row) {
      x = row; a[0] = row; a[1] = -row; v.assign(row % 4, row); tree.Fill();
    }
    file.WriteTObject(&tree, "t");
  }
  {
    TFile file(path + "/generated.root", "RECREATE");
    TTree tree("t", "t"); ROOT::TIOFeatures features; features.Set("kGenerateOffsetMap"); tree.SetIOFeatures(features);
    int n; float x[8]; tree.Branch("n", &n); tree.Branch("x", x, "x[n]/F"); tree.SetBasketSize("*", 4000);
    for (int row = 0; row < rows; ++row) { n = row % 8; for (int k = 0; k < n; ++k) x[k] = row + k; tree.Fill(); }
    tree.Write();
  }
  {
    TFile file(path + "/ntuple_tn.root", "RECREATE");
    TNtuple tn("tn", "tn", "x:y:z");
    for (int row = 0; row < rows; ++row) tn.Fill(row, -row, 0.5 * row);
    tn.Write(); tn.Write();
  }
  {
    TFile file(path + "/friend.root", "RECREATE");
    TTree tree("extra", "extra"); double score; float f; tree.Branch("score", &score); tree.Branch("f", &f);
    for (int row = 0; row < rows; ++row) { score = row * 0.25; f = -row; tree.Fill(); }
    tree.Write();
  }
  {
    TFile file(path + "/with_friend.root", "RECREATE");
    TTree tree("main", "main"); float f; tree.Branch("f", &f);
    for (int row = 0; row < rows; ++row) { f = row; tree.Fill(); }
    tree.AddFriend("extra", path + "/friend.root");
    tree.Write();
  }
}

void write_ntuple(const char* path, int rows, int compression) {
  auto model = ROOT::RNTupleModel::Create();
  auto f = model->MakeField<float>("f"); auto d = model->MakeField<double>("d"); auto b = model->MakeField<bool>("b");
  auto i8 = model->MakeField<std::int8_t>("i8"); auto u8 = model->MakeField<std::uint8_t>("u8");
  auto ch = model->MakeField<char>("ch");
  auto by = model->MakeField<std::byte>("by");
  auto i16 = model->MakeField<std::int16_t>("i16"); auto u16 = model->MakeField<std::uint16_t>("u16");
  auto i32 = model->MakeField<std::int32_t>("i32"); auto u32 = model->MakeField<std::uint32_t>("u32");
  auto i64 = model->MakeField<std::int64_t>("i64"); auto u64 = model->MakeField<std::uint64_t>("u64");
  auto half = std::make_unique<ROOT::RField<float>>("half"); half->SetHalfPrecision(); model->AddField(std::move(half));
  auto cut = std::make_unique<ROOT::RField<float>>("cut"); cut->SetTruncated(20); model->AddField(std::move(cut));
  auto quant = std::make_unique<ROOT::RField<float>>("quant"); quant->SetQuantized(12, std::pair<float, float>{0, 10});
  model->AddField(std::move(quant));
  auto d32 = std::make_unique<ROOT::RField<double>>("d32"); d32->SetDouble32(); model->AddField(std::move(d32));
  auto fixed = model->MakeField<std::array<float, 3>>("fixed");
  auto grid = model->MakeField<std::array<std::array<int, 3>, 2>>("grid");
  auto vf = model->MakeField<std::vector<float>>("vf"); auto rv = model->MakeField<ROOT::RVec<double>>("rv");
  auto vb = model->MakeField<std::vector<bool>>("vb");
  auto va = model->MakeField<std::vector<std::array<std::int32_t, 2>>>("va");
  auto jets = model->MakeField<std::vector<SourceJet>>("jets"); auto hits = model->MakeField<std::vector<SourceHit>>("hits");
  auto lead = model->MakeField<SourceHit>("lead"); auto event = model->MakeField<SourceEvent>("event");
  auto text = model->MakeField<std::string>("text");
  auto nested = model->MakeField<std::vector<std::vector<float>>>("nested");
  auto maybe = model->MakeField<std::optional<float>>("maybe"); auto bits = model->MakeField<std::bitset<5>>("bits");
  auto duo = model->MakeField<std::pair<float, int>>("duo"); auto atom = model->MakeField<std::atomic<int>>("atom");
  auto arrv = model->MakeField<std::array<SourceJet, 2>>("pairjets");
  auto track = model->MakeField<SourceTrack>("track"); auto kind = model->MakeField<SourceKind>("kind");
  auto owned = model->MakeField<std::unique_ptr<double>>("owned");
  auto variant = model->MakeField<std::variant<int, float>>("variant");
  auto tracks = model->MakeField<std::vector<SourceTrack>>("tracks");
  auto h = model->GetDefaultEntry().GetPtr<float>("half"); auto t = model->GetDefaultEntry().GetPtr<float>("cut");
  auto q = model->GetDefaultEntry().GetPtr<float>("quant"); auto dd = model->GetDefaultEntry().GetPtr<double>("d32");
  model->AddProjectedField(std::make_unique<ROOT::RField<float>>("alias_f"), [](const std::string&) { return "f"; });
  model->AddProjectedField(ROOT::RFieldBase::Create("njets", "ROOT::RNTupleCardinality<std::uint32_t>").Unwrap(),
                           [](const std::string&) { return "jets"; });
  model->AddProjectedField(ROOT::RFieldBase::Create("jet_pt", "std::vector<float>").Unwrap(),
                           [](const std::string& name) { return name == "jet_pt" ? "jets" : "jets._0.pt"; });
  ROOT::RNTupleWriteOptions options; options.SetCompression(compression);
  options.SetMaxUnzippedPageSize(1024); options.SetInitialUnzippedPageSize(256);
  std::shared_ptr<float> late;
  auto writer = ROOT::RNTupleWriter::Recreate(std::move(model), "Events", path, options);
  TRandom3 random(2);
  for (int row = 0; row < rows; ++row) {
    if (row == 900) {
      auto updater = writer->CreateModelUpdater(); updater->BeginUpdate(); late = updater->MakeField<float>("late");
      updater->CommitUpdate();
    }
    *f = int(random.Gaus(0, 100)); *d = random.Gaus(); *b = row % 3 == 0; *i8 = random.Integer(200);
    *u8 = random.Integer(250);
    *ch = 'a' + row % 20; *by = std::byte(row % 256); *i16 = int(random.Gaus(0, 999)); *u16 = random.Integer(9999);
    *i32 = int(random.Gaus(0, 1e6)); *u32 = random.Integer(4000000000u); *i64 = -row * 1000000000ll;
    *u64 = 1ull << (row % 64);
    *h = row / 8.; *t = row / 3.; *q = random.Uniform(0, 10); *dd = random.Uniform(0, 10);
    for (int k = 0; k < 3; ++k) { (*fixed)[k] = row + k; (*grid)[0][k] = row; (*grid)[1][k] = k; }
    const int n = row > 1000 && row < 1700 ? 0 : random.Integer(6);
    vf->clear(); rv->clear(); vb->clear(); va->clear(); jets->clear(); hits->clear(); nested->clear(); event->times.clear();
    for (int k = 0; k < n; ++k) {
      vf->push_back(k + row); rv->push_back(-k); vb->push_back(k % 2); va->push_back({row, k});
      nested->push_back({1.f * k, 2.f});
    }
    for (int k = 0; k < n / 2; ++k) { jets->push_back({float(random.Gaus()), k - 2}); event->times.push_back(k); }
    for (int k = 0; k < (row + n) % 3; ++k) hits->push_back({{float(row), k}, -1. * k});
    *lead = {{float(row), 2}, 0.5 * row}; event->number = row; event->weight = -row;
    for (int k = 0; k < 4; ++k) event->cells[k] = k * row;
    *track = {{1.f * row, row}, -0.5 * row}; *kind = row % 2 ? SourceKind::some : SourceKind::none; tracks->clear();
    for (int k = 0; k < row % 4; ++k) { tracks->push_back({{2.f * k, row}, 1. * k}); }
    if (row % 3) *owned = std::make_unique<double>(row); else owned->reset();
    *variant = row;
    *text = "row"; if (row % 2) *maybe = row; else maybe->reset(); *bits = row % 32; *duo = {row, -row}; *atom = row;
    (*arrv)[0] = {1.f * row, 0}; (*arrv)[1] = {-1.f * row, 1};
    if (late) *late = row;
    writer->Fill();
    if (row % 600 == 599) writer->CommitCluster();
    if (row % 1200 == 1199) writer->CommitCluster(true);
  }
}
"""


def main(folder: str, rows: int) -> None:
    """Write all files."""
    if not ROOT.gInterpreter.Declare(DECLARATIONS):
        raise SystemExit("ROOT does not compile the writers")
    for name, compression in (("zlib", 101), ("zstd", 505)):
        ROOT.write_tree(f"{folder}/tree_{name}.root", rows, compression, True)
        ROOT.write_ntuple(f"{folder}/rntuple_{name}.root", rows, compression)
    ROOT.write_small(folder, rows)
    ROOT.write_tree(f"{folder}/killed.root", rows, 404, False, "SaveSelf")
    ROOT.write_tree(f"{folder}/unclosed.root", rows, 404, False)
    os._exit(0)  # ROOT shall not close the files of the killed jobs


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
